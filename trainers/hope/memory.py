"""Self-modifying memories: MLPs whose weights are a value, read and written by pure functions.

Five memories M in {k, v, eta, alpha, memory} belong to a block. One is f(x; W) = W2 gelu(W1 x) + x and is read
through a layer norm, M(x) = LN(f(x; W)). The parameters are only where W begins; what is written lives in a
`MemoryState` that is passed in and handed back, so that nothing leaks from one pass into another.

Shapes: B samples, n tokens of a chunk, D width, H hidden width, M memories, S = 1 (one state shared by the batch)
or B (a state a sample). The inner gradient is in closed form (docs/hope.md), so that a write needs no autograd
and happens under no_grad and inference_mode alike. Source: Behrouz et al., arXiv 2512.24695, equations 76-97.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as nnf

from specs.trainer_hope import Memories, Preconditioner, WriteScope

TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Norms:
    """The affine layer norms that memories are read through: slow parameters, never written. (M, D) each."""

    gain: Tensor
    bias: Tensor

    def take(self, which: Sequence[int]) -> Norms:
        return Norms(gain=_take(self.gain, which, 0), bias=_take(self.bias, which, 0))

    def split(self, sizes: Sequence[int]) -> tuple[Norms, ...]:
        """Neighbours in groups of ``sizes``, M in all."""
        parts = zip(self.gain.split(list(sizes)), self.bias.split(list(sizes)), strict=True)
        return tuple(Norms(gain=gain, bias=bias) for gain, bias in parts)

    def __call__(self, f: Tensor) -> Tensor:
        """LN of (S, M, R, D)."""
        standard = nnf.layer_norm(f, f.shape[-1:])
        return torch.addcmul(self.bias[:, None], standard, self.gain[:, None])

    def each(self, f: Tensor) -> tuple[Tensor, ...]:
        """LN of (S, M, R, D), memory by memory: M of (S, R, D)."""
        return tuple(
            nnf.layer_norm(one, one.shape[-1:], gain, bias)
            for one, gain, bias in zip(
                f.unbind(1), self.gain.unbind(0), self.bias.unbind(0), strict=True
            )
        )


@dataclass(frozen=True, kw_only=True)
class MemoryState:
    """Active weights: W1 (S, M, H, D), W2 (S, M, D, H); ``writes`` since the start of the pass.

    They lie memory by memory, so that those of neighbours are read where they lie (`_flat`).
    """

    W1: Tensor
    W2: Tensor
    writes: int = 0

    def detached(self) -> MemoryState:
        return replace(self, W1=self.W1.detach(), W2=self.W2.detach())

    def uncounted(self) -> MemoryState:
        """The same weights without the number of writes, for what must not depend on it."""
        return replace(self, writes=0)

    def to(self, dtype: torch.dtype) -> MemoryState:
        """The same weights for products in ``dtype``."""
        return replace(self, W1=self.W1.to(dtype), W2=self.W2.to(dtype))

    def split(self, sizes: Sequence[int]) -> tuple[MemoryState, ...]:
        """Neighbours in groups of ``sizes``, M in all. Their gradients come back in one piece."""
        parts = zip(self.W1.split(list(sizes), 1), self.W2.split(list(sizes), 1), strict=True)
        return tuple(replace(self, W1=W1, W2=W2) for W1, W2 in parts)

    def take(self, which: Sequence[int]) -> MemoryState:
        """The memories ``which`` alone."""
        return replace(self, W1=_take(self.W1, which, 1), W2=_take(self.W2, which, 1))


def _take(t: Tensor, which: Sequence[int], dim: int) -> Tensor:
    """Neighbours, as a view: an index would copy the weights at every read."""
    if len(which) == t.shape[dim]:
        return t
    return t.narrow(dim, which[0], len(which))


@dataclass(frozen=True, kw_only=True)
class Write:
    """What drives a write of all memories. Tokens are (B, n, D); all but eta and alpha are taken as constants."""

    k: Tensor
    target: Tensor  # (S, M, R, D) what f(k; W) is fitted to
    surprise: Tensor  # (B,) weight of each sample
    eta: Tensor
    alpha: Tensor
    mask: Tensor  # (B,) 1 where the sample writes, else 0
    counted: Tensor | None = None  # (n,) 1 for tokens that count in the means of eta, alpha and k^2


@dataclass(frozen=True, kw_only=True)
class WriteRecord:
    """Measured on a write, on the device. Few vectors, so that nothing is reduced that nobody looks at."""

    raw: Tensor  # (S, D): the preconditioner before the clamp
    p: Tensor  # (S, D): after it
    mask: Tensor  # (B,): 1 for samples that wrote
    kept: Tensor  # (S, D): what each weight of that input (W1) or output (W2) was multiplied by

    @property
    def p_mean(self) -> Tensor:
        return self.p.mean()

    @property
    def gate(self) -> Tensor:
        """Fraction of samples that wrote."""
        return self.mask.mean()


def begin(W1: Tensor, W2: Tensor, samples: int, scope: WriteScope) -> MemoryState:
    """The state before the first write; gradients reach the parameters W1 (M, H, D) and W2 (M, D, H)."""
    S = samples if scope is WriteScope.PER_SAMPLE else 1
    return MemoryState(W1=_each_its_own(W1, S), W2=_each_its_own(W2, S))


def _each_its_own(W: Tensor, S: int) -> Tensor:
    """(M, a, b) -> (S, M, a, b), lying memory by memory."""
    return W[:, None].expand(-1, S, -1, -1).contiguous().transpose(0, 1)


def lowered(state: MemoryState) -> MemoryState:
    """The state for products: in the type that autocast asks for, converted once; else itself."""
    kind = state.W1.device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return state
    return state.to(torch.get_autocast_dtype(kind))


def rows(x: Tensor, S: int) -> Tensor:
    """(B, n, D) -> (S, R, D): the tokens that one state serves."""
    return x.reshape(S, -1, x.shape[-1])


def _flat(W: Tensor) -> Tensor:
    """(S, M, a, b) -> (M S, a, b): a view, as weights lie memory by memory."""
    return W.transpose(0, 1).flatten(0, 1)


def _for_each(x: Tensor, memories: int) -> Tensor:
    """(S, R, D) -> (M S, R, D): the same tokens for every memory; a view where one state serves all."""
    return x.expand(memories, *x.shape).flatten(0, 1)


def _back(y: Tensor, S: int) -> Tensor:
    """(M S, ...) -> (S, M, ...)."""
    return y.unflatten(0, (-1, S)).transpose(0, 1)


def fit(state: MemoryState, x: Tensor) -> Tensor:
    """f(x; W) of all memories of ``state`` on the same tokens (S, R, D): (S, M, R, D).

    Computed in the type of the weights. Hidden activations lie memory by memory and contiguous: their
    elementwise kernels are several times as slow on a strided view.
    """
    tokens = _for_each(x.to(state.W1.dtype), state.W1.shape[1])
    hidden = nnf.gelu(torch.bmm(tokens, _flat(state.W1).mT))
    return _back(torch.baddbmm(tokens, hidden, _flat(state.W2).mT), len(x))


def read(state: MemoryState, norms: Norms, x: Tensor) -> Tensor:
    """M(x) = LN(f(x; W)): (S, M, R, D)."""
    return norms(fit(state, x))


def read_each(state: MemoryState, norms: Norms, x: Tensor) -> tuple[Tensor, ...]:
    """What `read` gives, one tensor (S, R, D) a memory."""
    return norms.each(fit(state, x))


@torch.no_grad()
def inner_gradient(
    state: MemoryState, k: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """(dL/dW1, dL/dW2) of L = sum over rows and D of weight (f(k; W) - target)^2.

    k (S, R, D), target (S, M, R, D), weight (S, R): the surprise over the number of elements averaged. With
    Z = K W1^T, A = gelu(Z), E = A W2^T + K - target, dP = 2 weight E:
    dL/dW2 = dP^T A and dL/dW1 = (dP W2 * gelu'(Z))^T K. Products are in the type of the weights.
    """
    S, M = state.W1.shape[:2]
    W1, W2 = _flat(state.W1), _flat(state.W2)
    K = _for_each(k.to(W1.dtype), M)
    Z = torch.bmm(K, W1.mT)
    A = nnf.gelu(Z)
    E = torch.bmm(A, W2.mT) + (k[:, None] - target).transpose(0, 1).flatten(0, 1)
    dP = (E * (2 * weight).expand(M, *weight.shape).flatten(0, 1)[..., None]).to(W2.dtype)
    g2 = torch.bmm(dP.mT, A)
    g1 = torch.bmm(torch.ops.aten.gelu_backward(torch.bmm(dP, W2), Z).mT, K)
    return _back(g1, S), _back(g2, S)


def clip_scale(g: Tensor, most: float) -> Tensor:
    """What scales each matrix to a Frobenius norm of at most ``most``; no branch, no host synchronisation."""
    norm = torch.linalg.vector_norm(g, dim=(-2, -1), keepdim=True, dtype=_at_least_single(g.dtype))
    return (most / (norm + TINY)).clamp(max=1.0)


def _at_least_single(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def cuts(settings: Memories, writes: int) -> bool:
    """Whether the meta-gradient is cut behind the write of that number, counted from 1."""
    return settings.detach_interval > 0 and writes % settings.detach_interval == 0


def write(
    state: MemoryState, given: Write, settings: Memories, low: MemoryState | None = None
) -> tuple[MemoryState, WriteRecord]:
    """The state after one write of every memory; ``low``: the state that products are made with, if it is there.

    Gradients of the outer loss pass through W, eta and alpha only: the inner gradient is a constant. With
    ``shared`` scope the samples that do not write are left out of every mean; with ``per_sample`` their states
    stay as they are.
    """
    cut = cuts(settings, state.writes + 1)
    return written(state, given, settings, low or lowered(state), cut=cut)


def written(
    state: MemoryState, given: Write, settings: Memories, low: MemoryState, *, cut: bool
) -> tuple[MemoryState, WriteRecord]:
    """`write`, the meta-gradient ``cut`` behind it or not."""
    g1, g2 = _gradients(low, given)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not cut):
        after, record = _stepped(state, given, settings, g1, g2)
    return (after.detached() if cut else after), record


def _stepped(
    state: MemoryState, given: Write, settings: Memories, g1: Tensor, g2: Tensor
) -> tuple[MemoryState, WriteRecord]:
    """W p - eta g of every matrix, g clipped."""
    S = state.W1.shape[0]
    eta, alpha, k2 = (
        _mean(t, given, S) for t in (given.eta, given.alpha, given.k.detach().square())
    )
    eta = eta.clamp(max=settings.eta_max)
    diagonal = settings.preconditioner is Preconditioner.DIAGONAL
    raw = alpha - eta * k2 if diagonal else alpha
    p = raw.clamp(0.0, 1.0) if diagonal else alpha
    writes = _any(given.mask, S)
    keep = torch.where(writes, p, torch.ones_like(p))
    eta = torch.where(writes, eta, torch.zeros_like(eta))
    rate1 = eta[:, None, None, :] * clip_scale(g1, settings.write_clip)
    rate2 = eta[:, None, :, None] * clip_scale(g2, settings.write_clip)
    kept1 = state.W1 * keep[:, None, None, :]
    if not diagonal:
        kept1 = kept1 - _rank1(state.W1, given, eta, S)
    written = MemoryState(
        W1=torch.addcmul(kept1, rate1, g1.to(kept1.dtype), value=-1),
        W2=torch.addcmul(state.W2 * keep[:, None, :, None], rate2, g2.to(kept1.dtype), value=-1),
        writes=state.writes + 1,
    )
    record = WriteRecord(raw=raw.detach(), p=p.detach(), mask=given.mask, kept=keep.detach())
    return written, record


def _gradients(state: MemoryState, given: Write) -> tuple[Tensor, Tensor]:
    S, _, R, D = given.target.shape
    k = rows(given.k.detach(), S)
    share = given.mask / _writers(given.mask, S)
    weight = (given.surprise * share)[:, None].expand(-1, given.k.shape[1]) / (given.k.shape[1] * D)
    return inner_gradient(state, k, given.target.detach(), weight.reshape(S, R))


def _writers(mask: Tensor, S: int) -> Tensor:
    """How many samples share each sample's mean: all that write with one state, itself with its own."""
    return mask.sum().clamp(min=1.0) if S == 1 else torch.ones_like(mask)


def _mean(t: Tensor, given: Write, S: int) -> Tensor:
    """Mean over the counted tokens of the samples that write: (B, n, D) -> (S, D)."""
    if given.counted is not None:
        of_sample = (t * given.counted[:, None]).sum(1) / given.counted.sum()
    else:
        of_sample = t.mean(1)
    if S > 1:
        return of_sample
    return (of_sample * given.mask[:, None]).sum(0, keepdim=True) / _writers(given.mask, S)


def _rank1(W1: Tensor, given: Write, eta: Tensor, S: int) -> Tensor:
    """W1 eta k k^T, the matrix product averaged over tokens; k is L2-normalised by the caller."""
    k = rows(given.k.detach() * given.mask[:, None, None], S)
    count = given.k.shape[1] * (_writers(given.mask, S) if S == 1 else 1.0)
    return (W1 @ ((k.mT @ k) / count)[:, None]) * eta[:, None, None, :]


def _any(mask: Tensor, S: int) -> Tensor:
    """Which states are written at all: (S, 1)."""
    writes = mask > 0 if S > 1 else (mask > 0).any()[None]
    return writes[:, None]


def surprise(v: Tensor, o: Tensor) -> Tensor:
    """s_b = mean over tokens of ||v - o||_2, (B, n, D) -> (B,), a constant. Of two layer norms: about sqrt(2 D)."""
    return torch.linalg.vector_norm((v - o).detach(), dim=-1).mean(-1)


def expected_surprise(width: int) -> float:
    """The surprise of two unrelated layer-normed vectors."""
    return math.sqrt(2 * width)
