"""The documented memory layer, written plainly: the oracle of tests and the yardstick of benchmarks.

A Python loop over chunks and one over the five memories; the inner gradient of each memory by
torch.autograd.grad on detached copies of its weights, clipped by a branch on `.item()`; every chunk writes, the last
one too. It shares no code with trainers/hope but the parameters of the layer that it stands in for. With a state a
sample the samples are gone through one after the other, each as a batch of its own.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from specs.trainer_hope import Preconditioner, WriteScope
from trainers.hope.blocks import HBlock
from trainers.hope.model import Predictor
from trainers.hope.titan import SelfModifying

NAMES = ("M_k", "M_v", "M_eta", "M_alpha", "M_memory")
Weights = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class State:
    """Active weights of the memories by name; ``step`` counts the writes."""

    of: dict[str, Weights]
    step: int = 0


States = tuple[State, ...]
"""One for the batch, or one a sample."""


@dataclass(frozen=True)
class Out:
    out: Tensor
    state: States
    aux: Tensor
    records: tuple[()] = ()


class NaiveMemories(nn.Module):
    """Stands in for a `SelfModifying` layer and has its parameters."""

    def __init__(self, layer: SelfModifying) -> None:
        super().__init__()
        if (
            layer.settings.preconditioner is not Preconditioner.DIAGONAL
            or layer.settings.skip_conditioning
        ):
            raise ValueError("the documents know the diagonal preconditioner over all tokens alone")
        self.settings = layer.settings
        self.W_q, self.W_o, self.memories = layer.W_q, layer.W_o, layer.memories

    def begin(self, samples: int) -> States:
        fresh = State({name: (self.memories[name].W1, self.memories[name].W2) for name in NAMES})
        return (fresh,) * (samples if self.settings.scope is WriteScope.PER_SAMPLE else 1)

    def forward(
        self,
        x: Tensor,
        state: States | None = None,
        *,
        frame_tokens: int,
        writes: bool = True,
        keep_state: bool = False,
        auxiliary: bool = False,
    ) -> Out:
        del keep_state  # it always is
        states = self.begin(len(x)) if state is None else state
        batches = x.chunk(len(states))
        passed = [
            self._one(batch, own, frame_tokens, writes, auxiliary)
            for batch, own in zip(batches, states, strict=True)
        ]
        return Out(
            torch.cat([p.out for p in passed]),
            tuple(p.state[0] for p in passed),
            torch.stack([p.aux for p in passed]).mean(),
        )

    def _one(
        self, x: Tensor, state: State, frame_tokens: int, writes: bool, auxiliary: bool
    ) -> Out:
        tokens = self.settings.chunk_frames * frame_tokens or x.shape[1]
        outs, aux = [], x.new_zeros(())
        for chunk in x.split(tokens, dim=1):
            k, v = self.read("M_k", state, chunk), self.read("M_v", state, chunk)
            eta = self.settings.eta_scale_of("H") * nnf.softplus(self.read("M_eta", state, chunk))
            alpha = torch.sigmoid(self.read("M_alpha", state, chunk) + self.settings.alpha_offset)
            o = self.read("M_memory", state, self.W_q(chunk))
            outs.append(self.W_o(o))
            if writes:
                state = self.write(state, k, v, eta, alpha, (v - o).norm(dim=-1).mean(-1).detach())
            if auxiliary:
                W1, W2 = state.of["M_memory"]
                r = self.memories["M_memory"].norm(fit(k, W1.detach(), W2.detach()))
                aux = aux + ((r - v.detach()) ** 2).mean() + ((r.detach() - v) ** 2).mean()
        return Out(torch.cat(outs, dim=1), (state,), aux)

    def read(self, name: str, state: State, x: Tensor) -> Tensor:
        """M(x) = LN(f(x; W))."""
        out: Tensor = self.memories[name].norm(fit(x, *state.of[name]))
        return out

    def write(
        self, state: State, k: Tensor, v: Tensor, eta: Tensor, alpha: Tensor, s: Tensor
    ) -> State:
        """Every memory after one write by the samples whose surprise ``s`` (B,) is above the threshold."""
        chosen = [b for b in range(len(s)) if s[b].item() > self.settings.surprise_threshold]
        written = state.of
        if chosen:
            eta = eta[chosen].mean((0, 1)).clamp(max=self.settings.eta_max)
            k, v, s = k[chosen].detach(), v[chosen].detach(), s[chosen]
            p = torch.clamp(alpha[chosen].mean((0, 1)) - eta * (k**2).mean((0, 1)), 0.0, 1.0)
            written = {name: self._written(name, state, k, v, s, eta, p) for name in NAMES}
        step, interval = state.step + 1, self.settings.detach_interval
        if interval and step % interval == 0:
            written = {name: (W1.detach(), W2.detach()) for name, (W1, W2) in written.items()}
        return replace(state, of=written, step=step)

    def _written(
        self, name: str, state: State, k: Tensor, v: Tensor, s: Tensor, eta: Tensor, p: Tensor
    ) -> Weights:
        W1, W2 = state.of[name]
        with torch.no_grad():
            target = self.read(name, state, v) if self.settings.target_norm else fit(v, W1, W2)
        with torch.enable_grad():
            leaves = W1.detach().requires_grad_(), W2.detach().requires_grad_()
            loss = (s[:, None, None] * (fit(k, *leaves) - target) ** 2).mean()
            g1, g2 = (self._clipped(g) for g in torch.autograd.grad(loss, leaves))
        return W1 * p[None, :] - eta[None, :] * g1, W2 * p[:, None] - eta[:, None] * g2

    def _clipped(self, g: Tensor) -> Tensor:
        norm = g.norm().item()
        return g * (self.settings.write_clip / norm) if norm > self.settings.write_clip else g


def fit(x: Tensor, W1: Tensor, W2: Tensor) -> Tensor:
    """f(x; W) = W2 gelu(W1 x) + x."""
    return nnf.linear(nnf.gelu(nnf.linear(x, W1)), W2) + x


def naive(model: Predictor) -> Predictor:
    """A copy of the model whose H blocks have the naive layer; its parameters come in the same order."""
    twin = copy.deepcopy(model)
    for block in twin.blocks:
        if isinstance(block, HBlock):
            block.titan = NaiveMemories(block.titan)
    return twin
