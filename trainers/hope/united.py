"""One self-modifying memory with linear queries, keys and values, and learned vectors for eta and alpha.

The memory of a U block. eta = eta_scale' softplus(e) and alpha = sigmoid(a) are parameters, the same for all
tokens; a begins at 2, so that .88 of the weights outlive a write.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import Memories, Preconditioner
from trainers.hope import memory
from trainers.hope.memory import MemoryState, Norms, Write
from trainers.hope.titan import MemoryParameters, Passed

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
    ) -> Passed:
        """(B, N, D) in frames of ``frame_tokens``. The last chunk writes only if its state is kept."""
        state = self.begin(len(x)) if state is None else state
        norm = self.memories["M_memory"].norm
        norms = Norms(gain=norm.weight[None], bias=norm.bias[None])
        tokens = self.settings.chunk_frames * frame_tokens or x.shape[1]
        parts = zip(*(t.split(tokens, dim=1) for t in self._projected(x)), strict=True)
        chunks = list(parts)
        outs, records = [], []
        for at, (q, k, v) in enumerate(chunks):
            S, low = len(state.W1), memory.lowered(state)
            (o,) = memory.read_each(low, norms, memory.rows(q, S))
            outs.append(o.reshape(v.shape))
            if writes and (keep_state or at + 1 < len(chunks)):
                given = self._write_of(low, norms, k, v, outs[-1])
                state, record = memory.write(state, given, self.settings, low)
                records.append(record)
        return Passed(
            out=self.W_o(torch.cat(outs, dim=1)),
            state=state,
            aux=x.new_zeros(()),
            records=tuple(records),
        )

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.W_q(x), self.W_k(x), self.W_v(x)
        if self.settings.preconditioner is Preconditioner.RANK1:
            q, k = nnf.normalize(q, dim=-1), nnf.normalize(k, dim=-1)
        return q, k, v

    def _write_of(self, state: MemoryState, norms: Norms, k: Tensor, v: Tensor, o: Tensor) -> Write:
        rows = memory.rows(v.detach(), len(state.W1))
        with torch.no_grad():
            fitted = memory.fit(state, rows)
            target = norms(fitted) if self.settings.target_norm else fitted
        s = memory.surprise(v, o)
        return Write(
            k=k,
            target=target,
            surprise=s,
            eta=(self.settings.eta_scale * nnf.softplus(self.eta)).expand_as(k),
            alpha=torch.sigmoid(self.alpha).expand_as(k),
            mask=(s > self.settings.surprise_threshold).to(s.dtype),
        )
