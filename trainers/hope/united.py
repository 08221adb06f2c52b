"""One self-modifying memory with linear queries, keys and values, and learned vectors for eta and alpha.

The memory of a U block. eta = eta_scale softplus(e) and alpha = sigmoid(a + alpha_offset), e and a learned vectors, the
same for all tokens; a begins at 2, so that .88 of the weights outlive a write. Keys and values enter nothing but writes,
whose inner gradients are constants of the outer loss: W_k and W_v learn by the auxiliary loss alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import Memories, Preconditioner
from trainers.hope import memory, writing
from trainers.hope.memory import MemoryState, Norms
from trainers.hope.titan import MemoryParameters, Passed, chunk_tokens, counted_tokens
from trainers.hope.writing import Write

ETA_START = -3.0
ALPHA_START = 2.0


class OneMemory(nn.Module):
    """The layer of a U block; its passes are those of `trainers.hope.titan.SelfModifying`."""

    def __init__(self, width: int, settings: Memories) -> None:
        super().__init__()
        self.settings = settings
        self.W_q = nn.Linear(width, width, bias=False)
        self.W_k = nn.Linear(width, width, bias=False)
        self.W_v = nn.Linear(width, width, bias=False)
        self.W_o = nn.Linear(width, width)
        self.eta = nn.Parameter(torch.full((width,), ETA_START))
        self.alpha = nn.Parameter(torch.full((width,), ALPHA_START))
        self.memories = nn.ModuleDict({"M_memory": MemoryParameters(width, settings.mult * width)})

    def begin(self, samples: int) -> MemoryState:
        """A memory that nothing was written to."""
        only = self.memories["M_memory"]
        return memory.begin(only.W1[None], only.W2[None], samples, self.settings.scope)

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
        """(B, N, D) in frames of ``frame_tokens``. The last chunk writes only if its state is kept, or for the
        auxiliary loss.
        """
        state = self.begin(len(x)) if state is None else state
        norm = self.memories["M_memory"].norm
        norms = Norms(gain=norm.weight[None], bias=norm.bias[None])
        tokens = chunk_tokens(self.settings, x.shape[1], frame_tokens)
        parts = zip(*(t.split(tokens, dim=1) for t in self._projected(x)), strict=True)
        chunks = list(parts)
        outs, records, auxes = [], [], []
        for at, (q, k, v) in enumerate(chunks):
            S, low = len(state.W1), memory.lowered(state)
            (o,) = memory.read_each(low, norms, memory.rows(q, S))
            outs.append(o.reshape(v.shape))
            goes_on = keep_state or at + 1 < len(chunks)
            after = state if goes_on else state.detached()
            if writes and (goes_on or auxiliary):
                counted = counted_tokens(self.settings, k, frame_tokens)
                given = self._write_of(low, norms, k, v, outs[-1], counted)
                after, record = writing.write(after, given, self.settings, low)
                if goes_on:
                    records.append(record)
            if auxiliary:
                auxes.append(writing.auxiliary(after, norms, k, v))
            if goes_on:
                state = after
        return Passed(
            out=self.W_o(torch.cat(outs, dim=1)),
            state=state,
            aux=torch.stack(auxes).sum() if auxes else x.new_zeros(()),
            records=tuple(records),
        )

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.W_q(x), self.W_k(x), self.W_v(x)
        if self.settings.preconditioner is Preconditioner.RANK1:
            q, k = nnf.normalize(q, dim=-1), nnf.normalize(k, dim=-1)
        return q, k, v

    def _write_of(
        self,
        low: MemoryState,
        norms: Norms,
        k: Tensor,
        v: Tensor,
        o: Tensor,
        counted: Tensor | None,
    ) -> Write:
        settings = self.settings
        return writing.driven(
            low,
            norms,
            settings,
            k=k,
            v=v,
            o=o,
            eta=(settings.eta_scale_of("U") * nnf.softplus(self.eta)).expand_as(k),
            alpha=torch.sigmoid(self.alpha + settings.alpha_offset).expand_as(k),
            counted=counted,
        )
