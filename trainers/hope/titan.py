"""The self-modifying layer: chunk by chunk, read with the weights of the chunk before, then write.

    q = W_q x,  k, v, eta, alpha = M_k(x), M_v(x), eta_scale softplus(M_eta(x)), sigmoid(M_alpha(x) + offset),
    o = M_memory(q),  out = W_o o,  surprise s = mean ||v - o||,
    write: every M is fitted to what it reads of v, weighted by s, retained by alpha, at rate eta.

Source: Behrouz et al., arXiv 2512.24695, equations 83-97. A chunk is a number of frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import Memories, Preconditioner
from trainers.hope import memory, writing
from trainers.hope.memory import MemoryState, Norms
from trainers.hope.writing import Write, WriteRecord

NAMES = ("M_k", "M_v", "M_eta", "M_alpha", "M_memory")
MEMORY = 4
ALL = (0, 1, 2, 3, MEMORY)
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
    """What a pass over a sequence gives. ``aux``: the auxiliary loss, summed over chunks, a scalar.

    ``records``: of the writes that are read later, in this pass or by who is handed the state.
    """

    out: Tensor  # (B, N, D)
    state: MemoryState
    aux: Tensor
    records: tuple[WriteRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Of a chunk: whether a loss depends on k and v (``keys``), on eta and alpha (``rates``), whether the chunk is
    written, and whether anything is read after it but by the auxiliary loss (``goes_on``).
    """

    keys: bool
    rates: bool
    write: bool
    goes_on: bool = True


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a chunk gives: o (B, n, D); the state, where it was written and goes on."""

    o: Tensor
    state: MemoryState | None
    record: WriteRecord | None
    aux: Tensor | None


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
        size = chunk_tokens(self.settings, x.shape[1], frame_tokens)
        # contiguous once, or every product of a chunk would copy its tokens
        chunks, queries = (
            [t.contiguous() for t in y.split(size, 1)] for y in (x, self._queries(x))
        )
        outs, records, auxes = [], [], []
        for at, (chunk, q) in enumerate(zip(chunks, queries, strict=True)):
            goes_on = keep_state or at + 1 < len(chunks)
            cut = writing.cuts(self.settings, state.writes + 1)
            needs = Needs(
                keys=auxiliary,
                rates=writes and goes_on and not cut,
                write=writes and (goes_on or auxiliary),
                goes_on=goes_on,
            )
            counted = counted_tokens(self.settings, chunk, frame_tokens)
            done = self.chunk(state.uncounted(), norms, chunk, q, counted, needs)
            outs.append(done.o)
            if done.aux is not None:
                auxes.append(done.aux)
            if done.state is not None and done.record is not None:
                records.append(done.record)
                state = replace(done.state, writes=state.writes + 1)
        aux = torch.stack(auxes).sum() if auxes else x.new_zeros(())
        out = self.W_o(torch.cat(outs, dim=1))
        return Passed(out=out, state=state, aux=aux, records=tuple(records))

    def chunk(
        self,
        state: MemoryState,
        norms: Norms,
        x: Tensor,
        q: Tensor,
        counted: Tensor | None,
        needs: Needs,
    ) -> Done:
        """One chunk (B, n, D): a pure function of its arguments, which is what gets compiled."""
        low = memory.lowered(state)
        seen = self._read(low, norms, x, q, needs)
        record, after = None, state
        which = ALL
        if not needs.goes_on:  # of what is written here nothing is read but by the auxiliary loss
            which, after, low = (MEMORY,), state.detached(), low.detached()
        if needs.write:
            after, low = after.take(which), low.take(which)
            given = self._write_of(low, norms.take(which), seen, counted)
            after, record = writing.written(after, given, self.settings, low, cut=not needs.rates)
        aux = None
        if needs.keys:
            read = after if len(which) == 1 and needs.write else after.take((MEMORY,))
            assert seen.k is not None and seen.v is not None
            aux = writing.auxiliary(read, norms.take((MEMORY,)), seen.k, seen.v)
        state_out = after if needs.goes_on and needs.write else None
        return Done(o=seen.o, state=state_out, record=record, aux=aux)

    def _queries(self, x: Tensor) -> Tensor:
        q = self.W_q(x)
        unit = self.settings.preconditioner is Preconditioner.RANK1
        return nnf.normalize(q, dim=-1) if unit else q

    def _read(self, state: MemoryState, norms: Norms, x: Tensor, q: Tensor, needs: Needs) -> _Seen:
        """What the memories read of a chunk. One product serves those that are differentiated alike.

        A product whose result no loss depends on is not gone back through: with zeros for its gradient it would be.
        """
        alike = needs.keys == needs.rates or not torch.is_grad_enabled()
        sizes = (4, 1) if needs.write and alike else (2, 2, 1)
        states, normed = state.split(sizes), norms.split(sizes)
        S = len(state.W1)

        def read(group: int, tokens: Tensor, graph: bool) -> list[Tensor]:
            with torch.set_grad_enabled(graph and torch.is_grad_enabled()):
                found = memory.read_each(states[group], normed[group], memory.rows(tokens, S))
                return [t.reshape(x.shape) for t in found]

        (o,) = read(-1, q, graph=True)
        if not needs.write and not needs.keys:
            return _Seen(o=o)
        found = read(0, x, graph=needs.keys)
        if needs.write and not alike:
            found += read(1, x, graph=needs.rates)
        k, v, *rates = found
        if self.settings.preconditioner is Preconditioner.RANK1:
            k = nnf.normalize(k, dim=-1)
        return _Seen(o=o, k=k, v=v, rates=self._rates(*rates) if rates else None)

    def _rates(self, eta: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return (
            self.settings.eta_scale_of("H") * nnf.softplus(eta),
            torch.sigmoid(alpha + self.settings.alpha_offset),
        )

    def _write_of(
        self, state: MemoryState, norms: Norms, seen: _Seen, counted: Tensor | None
    ) -> Write:
        assert seen.k is not None and seen.v is not None and seen.rates is not None
        eta, alpha = seen.rates
        return writing.driven(
            state,
            norms,
            self.settings,
            k=seen.k,
            v=seen.v,
            o=seen.o,
            eta=eta,
            alpha=alpha,
            counted=counted,
        )


def chunk_tokens(settings: Memories, tokens: int, frame_tokens: int) -> int:
    """Of each chunk but the last, which may be shorter, of a sequence of so many ``tokens``."""
    return settings.chunk_frames * frame_tokens or tokens


def counted_tokens(settings: Memories, chunk: Tensor, frame_tokens: int) -> Tensor | None:
    """(n,) 1 for the patches of a chunk (B, n, D), 0 for action and state; None where all tokens count."""
    if not settings.skip_conditioning:
        return None
    place = torch.arange(chunk.shape[1], device=chunk.device) % frame_tokens
    return (place >= CONDITIONING).to(chunk.dtype)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Tokens of a chunk after the reads, (B, n, D) each; what nothing needs is not read.

    ``rates``: eta and alpha, where something is written.
    """

    o: Tensor
    k: Tensor | None = None
    v: Tensor | None = None
    rates: tuple[Tensor, Tensor] | None = None
