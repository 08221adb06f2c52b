"""Writes: each memory is fitted to what it reads of v, by one step whose gradient is in closed form.

    L = mean of s (f(k; W) - target)^2,    W1 <- W1 p - eta g1,    W2 <- p W2 - eta g2,    p = clamp(alpha - eta k^2, 0, 1)

No autograd runs inside, so that a write needs none and happens under no_grad and inference_mode alike. Shapes are
those of `trainers.hope.memory`. Source: Behrouz et al., arXiv 2512.24695, equations 83-97.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as nnf

from specs.trainer_hope import Memories, Preconditioner
from trainers.hope import memory
from trainers.hope.memory import MemoryState, Norms, back, flat, for_each, lowered, rows

TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Write:
    """What drives a write of all memories. Tokens are (B, n, D); all but eta and alpha are taken as constants."""

    k: Tensor
    target: Tensor  # (S, M, R, D) what f(k; W) is fitted to
    surprise: Tensor  # (B,) weight of each sample
    eta: Tensor
    alpha: Tensor
    mask: Tensor  # (B,) 1 where the sample writes, else 0
    counted: Tensor | None = (
        None  # (n,) 1 for tokens that count in the means of eta, alpha and k k^T
    )


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


def driven(
    state: MemoryState,
    norms: Norms,
    settings: Memories,
    *,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    eta: Tensor,
    alpha: Tensor,
    counted: Tensor | None,
) -> Write:
    """The write of the memories of ``state`` after a chunk (B, n, D) of which k, v and o were read."""
    tokens = rows(v.detach(), len(state.W1))
    with torch.no_grad():
        fitted = memory.fit(state, tokens)
        target = norms(fitted) if settings.target_norm else fitted
    s = surprise(v, o)
    return Write(
        k=k,
        target=target,
        surprise=s,
        eta=eta,
        alpha=alpha,
        mask=(s > settings.surprise_threshold).to(s.dtype),
        counted=counted,
    )


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
    W1, W2 = flat(state.W1), flat(state.W2)
    K = for_each(k.to(W1.dtype), M)
    Z = torch.bmm(K, W1.mT)
    A = nnf.gelu(Z)
    E = torch.bmm(A, W2.mT) + (k[:, None] - target).transpose(0, 1).flatten(0, 1)
    dP = (E * (2 * weight).expand(M, *weight.shape).flatten(0, 1)[..., None]).to(W2.dtype)
    g2 = torch.bmm(dP.mT, A)
    g1 = torch.bmm(torch.ops.aten.gelu_backward(torch.bmm(dP, W2), Z).mT, K)
    return back(g1, S), back(g2, S)


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
    """W1 eta k k^T, the matrix product averaged over the counted tokens; k is L2-normalised by the caller."""
    k = given.k.detach() * given.mask[:, None, None]
    tokens: Tensor | int = k.shape[1]
    if given.counted is not None:
        k, tokens = k * given.counted[:, None], given.counted.sum()
    k = rows(k, S)
    count = tokens * (_writers(given.mask, S) if S == 1 else 1.0)
    return (W1 @ ((k.mT @ k) / count)[:, None]) * eta[:, None, None, :]


def _any(mask: Tensor, S: int) -> Tensor:
    """Which states are written at all: (S, 1)."""
    writes = mask > 0 if S > 1 else (mask > 0).any()[None]
    return writes[:, None]


def surprise(v: Tensor, o: Tensor) -> Tensor:
    """s_b = mean over tokens of ||v - o||_2, (B, n, D) -> (B,), a constant. Of two layer norms: about sqrt(2 D)."""
    return torch.linalg.vector_norm((v - o).detach(), dim=-1).mean(-1)


def auxiliary(state: MemoryState, norms: Norms, k: Tensor, v: Tensor) -> Tensor:
    """mse(r, sg v) + mse(sg r, v), r what the one memory of ``state``, held fixed, now reads at k (B, n, D)."""
    fixed = lowered(state.detached())
    (r,) = memory.read_each(fixed, norms, rows(k, len(state.W1)))
    r = r.reshape(v.shape)
    return nnf.mse_loss(r, v.detach()) + nnf.mse_loss(r.detach(), v)
