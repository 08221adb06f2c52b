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

    def __call__(self, f: Tensor) -> Tensor:
        """LN of (S, M, R, D)."""
        standard = nnf.layer_norm(f, f.shape[-1:])
        return torch.addcmul(self.bias[:, None], standard, self.gain[:, None])


@dataclass(frozen=True, kw_only=True)
class MemoryState:
    """Active weights: W1 (S, M, H, D), W2 (S, M, D, H); ``writes`` since the start of the pass."""

    W1: Tensor
    W2: Tensor
    writes: int = 0

    def detached(self) -> MemoryState:
        return replace(self, W1=self.W1.detach(), W2=self.W2.detach())

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
    """Measured on a write, on the device; scalars but for ``kept``."""

    p_mean: Tensor
    p_std: Tensor
    p_at_0: Tensor  # fraction of the preconditioner that the clamp holds at 0
    p_at_1: Tensor
    gate: Tensor  # fraction of samples that wrote
    kept: Tensor  # (S, D): what each weight of that input (W1) or output (W2) was multiplied by


def begin(W1: Tensor, W2: Tensor, samples: int, scope: WriteScope) -> MemoryState:
    """The state before the first write; gradients reach the parameters W1 (M, H, D) and W2 (M, D, H)."""
    S = samples if scope is WriteScope.PER_SAMPLE else 1
    return MemoryState(W1=W1.expand(S, -1, -1, -1), W2=W2.expand(S, -1, -1, -1))


def rows(x: Tensor, S: int) -> Tensor:
    """(B, n, D) -> (S, R, D): the tokens that one state serves."""
    return x.reshape(S, -1, x.shape[-1])


def fit(state: MemoryState, x: Tensor, which: Sequence[int]) -> Tensor:
    """f(x; W) of the memories ``which``, neighbours, on the same tokens (S, R, D): (S, len(which), R, D)."""
    chosen = state.take(which)
    W1, W2 = chosen.W1, chosen.W2
    S, m, H, D = W1.shape
    hidden = nnf.gelu(x @ W1.reshape(S, m * H, D).mT)
    hidden = hidden.view(S, -1, m, H).transpose(1, 2)
    return hidden @ W2.mT + x[:, None]


def read(state: MemoryState, norms: Norms, x: Tensor, which: Sequence[int]) -> Tensor:
    """M(x) = LN(f(x; W)): (S, len(which), R, D)."""
    return norms.take(which)(fit(state, x, which))


@torch.no_grad()
def inner_gradient(
    state: MemoryState, k: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """(dL/dW1, dL/dW2) of L = sum over rows and D of weight (f(k; W) - target)^2.

    k (S, R, D), target (S, M, R, D), weight (S, R): the surprise over the number of elements averaged. With
    Z = K W1^T, A = gelu(Z), E = A W2^T + K - target, dP = 2 weight E:
    dL/dW2 = dP^T A and dL/dW1 = (dP W2 * gelu'(Z))^T K.
    """
    W1, W2 = state.W1, state.W2
    S, M, H, D = W1.shape
    Z = (k @ W1.reshape(S, M * H, D).mT).view(S, -1, M, H).transpose(1, 2)
    A = nnf.gelu(Z)
    dP = 2 * weight[:, None, :, None] * (A @ W2.mT + k[:, None] - target)
    g2 = dP.mT @ A
    g1 = torch.ops.aten.gelu_backward(dP @ W2, Z).mT @ k[:, None]
    return g1, g2


def clip_scale(g: Tensor, most: float) -> Tensor:
    """What scales each matrix to a Frobenius norm of at most ``most``; no branch, no host synchronisation."""
    norm = torch.linalg.matrix_norm(g, keepdim=True)
    return (most / (norm + TINY)).clamp(max=1.0)


def cuts(settings: Memories, writes: int) -> bool:
    """Whether the meta-gradient is cut behind the write of that number, counted from 1."""
    return settings.detach_interval > 0 and writes % settings.detach_interval == 0


def write(state: MemoryState, given: Write, settings: Memories) -> tuple[MemoryState, WriteRecord]:
    """The state after one write of every memory.

    Gradients of the outer loss pass through W, eta and alpha only: the inner gradient is a constant. With
    ``shared`` scope the samples that do not write are left out of every mean; with ``per_sample`` their states
    stay as they are.
    """
    S = state.W1.shape[0]
    g1, g2 = _gradients(state, given)
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
        W1=torch.addcmul(kept1, rate1, g1, value=-1),
        W2=torch.addcmul(state.W2 * keep[:, None, :, None], rate2, g2, value=-1),
        writes=state.writes + 1,
    )
    if cuts(settings, written.writes):
        written = written.detached()
    return written, _record(raw.detach(), p.detach(), given.mask, keep.detach())


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


def _record(raw: Tensor, p: Tensor, mask: Tensor, kept: Tensor) -> WriteRecord:
    return WriteRecord(
        p_mean=p.mean(),
        p_std=p.std(unbiased=False),
        p_at_0=(raw <= 0).float().mean(),
        p_at_1=(raw >= 1).float().mean(),
        gate=mask.mean(),
        kept=kept,
    )


def surprise(v: Tensor, o: Tensor) -> Tensor:
    """s_b = mean over tokens of ||v - o||_2, (B, n, D) -> (B,), a constant. Of two layer norms: about sqrt(2 D)."""
    return torch.linalg.vector_norm((v - o).detach(), dim=-1).mean(-1)


def expected_surprise(width: int) -> float:
    """The surprise of two unrelated layer-normed vectors."""
    return math.sqrt(2 * width)
