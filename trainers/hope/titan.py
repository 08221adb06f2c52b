"""The self-modifying layer: chunk by chunk, read with the weights of the chunk before, then write.

    q = W_q x,  k, v, eta, alpha = M_k(x), M_v(x), eta_scale softplus(M_eta(x)), sigmoid(M_alpha(x) + offset),
    o = M_memory(q),  out = W_o o,  surprise s = mean ||v - o||,
    write: every M is fitted to what it reads of v, weighted by s, retained by alpha, at rate eta.

Source: Behrouz et al., arXiv 2512.24695, equations 83-97. A chunk is a number of frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import Memories, Preconditioner
from trainers.hope import memory
from trainers.hope.memory import MemoryState, Norms, Write, WriteRecord

NAMES = ("M_k", "M_v", "M_eta", "M_alpha", "M_memory")
K, V, ETA, ALPHA, MEMORY = range(5)
KEYS, RATES = (K, V), (ETA, ALPHA)
FROM_X = (*KEYS, *RATES)
ALL = (K, V, ETA, ALPHA, MEMORY)
CONDITIONING = 2
"""Tokens of a frame before its patches: action and state."""


class MemoryParameters(nn.Module):
    """Where one memory begins, and the layer norm that it is read through."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.W1 = nn.Parameter(torch.empty(hidden, width))
        self.W2 = nn.Parameter(torch.empty(width, hidden))
        self.norm = nn.LayerNorm(width)


@dataclass(frozen=True, kw_only=True)
class Passed:
    """What a pass over a sequence gives. ``aux``: the auxiliary loss, summed over chunks, a scalar."""

    out: Tensor  # (B, N, D)
    state: MemoryState
    aux: Tensor
    records: tuple[WriteRecord, ...]


class SelfModifying(nn.Module):
    """Five memories of a block, the query and the output projection."""

    def __init__(self, width: int, settings: Memories) -> None:
        super().__init__()
        self.settings = settings
        self.W_q = nn.Linear(width, width, bias=False)
        self.W_o = nn.Linear(width, width)
        self.memories = nn.ModuleDict(
            {name: MemoryParameters(width, settings.mult * width) for name in NAMES}
        )

    def begin(self, samples: int) -> MemoryState:
        """Memories that nothing was written to."""
        W1 = torch.stack([self.memories[name].W1 for name in NAMES])
        W2 = torch.stack([self.memories[name].W2 for name in NAMES])
        return memory.begin(W1, W2, samples, self.settings.scope)

    def norms(self) -> Norms:
        return Norms(
            gain=torch.stack([self.memories[name].norm.weight for name in NAMES]),
            bias=torch.stack([self.memories[name].norm.bias for name in NAMES]),
        )

    def forward(
        self,
        x: Tensor,
        state: MemoryState | None = None,
        *,
        frame_tokens: int,
        writes: bool = True,
        keep_state: bool = False,
        auxiliary: bool = False,
    ) -> Passed:
        """(B, N, D) in frames of ``frame_tokens``.

        The last chunk writes only if its state is kept; for the auxiliary loss, the one memory that it reads.
        """
        state = self.begin(len(x)) if state is None else state
        norms = self.norms()
        counted = self._counted(x, frame_tokens)
        chunks = x.split(self._chunk_tokens(x.shape[1], frame_tokens), dim=1)
        outs, records, aux = [], [], x.new_zeros(())
        for at, chunk in enumerate(chunks):
            goes_on = keep_state or at + 1 < len(chunks)
            linked = writes and goes_on and not memory.cuts(self.settings, state.writes + 1)
            seen = self._read(state, norms, chunk, keys=auxiliary, rates=linked)
            outs.append(self.W_o(seen.o))
            which = ALL if goes_on else (MEMORY,)
            judged = state if goes_on else state.detached().take(which)
            if writes and (goes_on or auxiliary):
                given = self._write_of(judged, norms.take(which), seen, counted)
                judged, record = memory.write(judged, given, self.settings)
                records.append(record)
            if goes_on:
                state = judged
            if auxiliary:
                read = judged.take((MEMORY,)) if goes_on else judged
                aux = aux + self._auxiliary(read.detached(), norms.take((MEMORY,)), seen)
        return Passed(out=torch.cat(outs, dim=1), state=state, aux=aux, records=tuple(records))

    def _chunk_tokens(self, tokens: int, frame_tokens: int) -> int:
        return self.settings.chunk_frames * frame_tokens or tokens

    def _counted(self, x: Tensor, frame_tokens: int) -> Tensor | None:
        if not self.settings.skip_conditioning:
            return None
        tokens = self._chunk_tokens(x.shape[1], frame_tokens)
        place = torch.arange(tokens, device=x.device) % frame_tokens
        return (place >= CONDITIONING).to(x.dtype)

    def _read(
        self, state: MemoryState, norms: Norms, x: Tensor, *, keys: bool, rates: bool
    ) -> _Seen:
        """``keys``, ``rates``: whether a loss depends on k and v, on eta and alpha; else they are constants."""
        S = len(state.W1)
        rows = memory.rows(x, S)
        k, v, eta, alpha = (
            t.reshape(x.shape) for t in self._from_x(state, norms, rows, keys, rates)
        )
        q = self.W_q(x)
        if self.settings.preconditioner is Preconditioner.RANK1:
            q, k = nnf.normalize(q, dim=-1), nnf.normalize(k, dim=-1)
        o = memory.read(state, norms, memory.rows(q, S), (MEMORY,)).reshape(x.shape)
        return _Seen(
            k=k,
            v=v,
            o=o,
            eta=self.settings.eta_scale * nnf.softplus(eta),
            alpha=torch.sigmoid(alpha + self.settings.alpha_offset),
        )

    def _from_x(
        self, state: MemoryState, norms: Norms, rows: Tensor, keys: bool, rates: bool
    ) -> tuple[Tensor, ...]:
        """What the four memories read of the tokens, in one product where both pairs need the same of it.

        A product whose result no loss depends on is not gone back through: with zeros for its gradient it would be.
        """
        if keys == rates or not torch.is_grad_enabled():
            with torch.set_grad_enabled(keys and torch.is_grad_enabled()):
                return memory.read(state, norms, rows, FROM_X).unbind(1)
        with torch.set_grad_enabled(keys):
            pair = memory.read(state, norms, rows, KEYS).unbind(1)
        with torch.set_grad_enabled(rates):
            return (*pair, *memory.read(state, norms, rows, RATES).unbind(1))

    def _write_of(
        self, state: MemoryState, norms: Norms, seen: _Seen, counted: Tensor | None
    ) -> Write:
        v = memory.rows(seen.v.detach(), len(state.W1))
        which = range(state.W1.shape[1])
        with torch.no_grad():
            target = (
                memory.read(state, norms, v, which)
                if self.settings.target_norm
                else memory.fit(state, v, which)
            )
        s = memory.surprise(seen.v, seen.o)
        return Write(
            k=seen.k,
            target=target,
            surprise=s,
            eta=seen.eta,
            alpha=seen.alpha,
            mask=(s > self.settings.surprise_threshold).to(s.dtype),
            counted=counted,
        )

    def _auxiliary(self, state: MemoryState, norms: Norms, seen: _Seen) -> Tensor:
        """mse(r, sg v) + mse(sg r, v), r what the memory of ``state``, held fixed, now reads at k."""
        r = memory.read(state, norms, memory.rows(seen.k, len(state.W1)), (0,))
        r = r.reshape(seen.v.shape)
        return nnf.mse_loss(r, seen.v.detach()) + nnf.mse_loss(r.detach(), seen.v)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Tokens of a chunk after the reads, (B, n, D) each."""

    k: Tensor
    v: Tensor
    o: Tensor
    eta: Tensor
    alpha: Tensor
