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
        return Norms(gain=self.gain[list(which)], bias=self.bias[list(which)])

    def __call__(self, f: Tensor) -> Tensor:
        """LN of (S, M, R, D)."""
        return nnf.layer_norm(f, f.shape[-1:]) * self.gain[:, None] + self.bias[:, None]


@dataclass(frozen=True, kw_only=True)
class MemoryState:
    """Active weights: W1 (S, M, H, D), W2 (S, M, D, H); ``writes`` since the start of the pass."""

    W1: Tensor
    W2: Tensor
    writes: int = 0

    def detached(self) -> MemoryState:
        return replace(self, W1=self.W1.detach(), W2=self.W2.detach())


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
    """Measured on a write, all scalars on the device."""

    p_mean: Tensor
    p_std: Tensor
    p_at_0: Tensor  # fraction of the preconditioner that the clamp holds at 0
    p_at_1: Tensor
    gate: Tensor  # fraction of samples that wrote


def begin(W1: Tensor, W2: Tensor, samples: int, scope: WriteScope) -> MemoryState:
    """The state before the first write; gradients reach the parameters W1 (M, H, D) and W2 (M, D, H)."""
    S = samples if scope is WriteScope.PER_SAMPLE else 1
    return MemoryState(W1=W1.expand(S, -1, -1, -1), W2=W2.expand(S, -1, -1, -1))


def rows(x: Tensor, S: int) -> Tensor:
    """(B, n, D) -> (S, R, D): the tokens that one state serves."""
    return x.reshape(S, -1, x.shape[-1])


def fit(state: MemoryState, x: Tensor, which: Sequence[int]) -> Tensor:
    """f(x; W) of the memories ``which`` on the same tokens (S, R, D): (S, len(which), R, D)."""
    chosen = list(which)
    W1, W2 = state.W1[:, chosen], state.W2[:, chosen]
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


def clip(g: Tensor, most: float) -> Tensor:
    """Each matrix scaled to a Frobenius norm of at most ``most``; no branch, no host synchronisation."""
    norm = torch.linalg.matrix_norm(g, keepdim=True)
    return g * (most / (norm + TINY)).clamp(max=1.0)


def write(state: MemoryState, given: Write, settings: Memories) -> tuple[MemoryState, WriteRecord]:
    """The state after one write of every memory.

    Gradients of the outer loss pass through W, eta and alpha only: the inner gradient is a constant. With
    ``shared`` scope the samples that do not write are left out of every mean; with ``per_sample`` their states
    stay as they are.
    """
    S = state.W1.shape[0]
    g1, g2 = _clipped_gradients(state, given, settings)
    eta, alpha, k2 = (
        _mean(t, given, S) for t in (given.eta, given.alpha, given.k.detach().square())
    )
    eta = eta.clamp(max=settings.eta_max)
    if settings.preconditioner is Preconditioner.DIAGONAL:
        raw = alpha - eta * k2
        p = raw.clamp(0.0, 1.0)
        W1 = state.W1 * p[:, None, None, :] - eta[:, None, None, :] * g1
        W2 = state.W2 * p[:, None, :, None] - eta[:, None, :, None] * g2
    else:
        raw = p = alpha
        W1 = _rank1(state.W1, given, alpha, eta, S) - eta[:, None, None, :] * g1
        W2 = state.W2 * alpha[:, None, :, None] - eta[:, None, :, None] * g2
    writes = _any(given.mask, S)
    written = MemoryState(
        W1=torch.where(writes, W1, state.W1),
        W2=torch.where(writes, W2, state.W2),
        writes=state.writes + 1,
    )
    interval = settings.detach_interval
    if interval and written.writes % interval == 0:
        written = written.detached()
    return written, _record(raw.detach(), p.detach(), given.mask)


def _clipped_gradients(
    state: MemoryState, given: Write, settings: Memories
) -> tuple[Tensor, Tensor]:
    S, _, R, D = given.target.shape
    k = rows(given.k.detach(), S)
    share = given.mask / _writers(given.mask, S)
    weight = (given.surprise * share)[:, None].expand(-1, given.k.shape[1]) / (given.k.shape[1] * D)
    g1, g2 = inner_gradient(state, k, given.target.detach(), weight.reshape(S, R))
    return clip(g1, settings.write_clip), clip(g2, settings.write_clip)


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


def _rank1(W1: Tensor, given: Write, alpha: Tensor, eta: Tensor, S: int) -> Tensor:
    """W1 (alpha I - eta k k^T), the matrix product averaged over tokens; k is L2-normalised by the caller."""
    k = rows(given.k.detach() * given.mask[:, None, None], S)
    count = given.k.shape[1] * (_writers(given.mask, S) if S == 1 else 1.0)
    kept = (k.mT @ k) / count
    return W1 * alpha[:, None, None, :] - (W1 @ kept[:, None]) * eta[:, None, None, :]


def _any(mask: Tensor, S: int) -> Tensor:
    """Which states are written at all: (S, 1, 1, 1)."""
    writes = mask > 0 if S > 1 else (mask > 0).any()[None]
    return writes.view(-1, 1, 1, 1)


def _record(raw: Tensor, p: Tensor, mask: Tensor) -> WriteRecord:
    return WriteRecord(
        p_mean=p.mean(),
        p_std=p.std(unbiased=False),
        p_at_0=(raw <= 0).float().mean(),
        p_at_1=(raw >= 1).float().mean(),
        gate=mask.mean(),
    )


def surprise(v: Tensor, o: Tensor) -> Tensor:
    """s_b = mean over tokens of ||v - o||_2, (B, n, D) -> (B,), a constant. Of two layer norms: about sqrt(2 D)."""
    return torch.linalg.vector_norm((v - o).detach(), dim=-1).mean(-1)


def expected_surprise(width: int) -> float:
    """The surprise of two unrelated layer-normed vectors."""
    return math.sqrt(2 * width)
