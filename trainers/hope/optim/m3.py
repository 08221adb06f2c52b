"""M3, multi-scale momentum with orthogonal steps: a fast momentum of every step, a slow one of every f steps.

    M1 <- M1 + b1 g,   V <- V + b2 g^2,   O1 = NS(M1)
    every f steps:  M2 <- M2 + b3 (the sum of the last f gradients),   O2 = NS(M2)
    theta <- theta - lr (O1 + a O2) / (sqrt(V) + eps)

O2 of a chunk of f steps is made at its end and used from the next chunk on. Source: Behrouz et al., arXiv
2512.24695, algorithm 1. There momenta only grow, and a step of size 1 is divided by something of the size of a
gradient: steps are orders of magnitude too large where gradients are small. The `rms` form takes moving averages for
sums, leaves V out and scales the step instead, so that rates of AdamW fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainers.hope.optim.newton_schulz import orthogonal

EPS = 1e-8
RMS = 0.2
"""Root mean square of a step in the `rms` form, over the rate: about what AdamW's is (Liu et al., arXiv 2502.16982)."""


@dataclass(frozen=True, kw_only=True)
class M3Settings:
    """``every``: f, the steps of a chunk; ``alpha``: a, the weight of the slow direction."""

    form: Literal["paper", "rms"]
    fast: float
    variance: float
    slow: float
    every: int
    alpha: float


class M3(torch.optim.Optimizer):
    """Of matrices only. The paper has no weight decay: it acts, decoupled, in the `rms` form alone."""

    def __init__(self, groups: Iterable[dict[str, Any]], settings: M3Settings) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})
        self.settings = settings
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(
                        f"M3 takes matrices, not a tensor of shape {tuple(parameter.shape)}"
                    )

    @property
    def entries(self) -> frozenset[str]:
        """What it remembers of each matrix that it has moved."""
        return frozenset({"step", *_momenta(self.settings)})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("M3 takes no closure: compute the gradient before")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(_start(parameter, self.settings))
        direction = _direction(state, gradient, self.settings)
        if self.settings.form == "rms":
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"])
        _close_chunk(state, gradient, self.settings)


def _start(parameter: Tensor, settings: M3Settings) -> dict[str, Tensor]:
    momenta = {name: torch.zeros_like(parameter) for name in _momenta(settings)}
    return {"step": torch.zeros(()), **momenta}


def _momenta(settings: M3Settings) -> list[str]:
    """``chunk``: the sum of its gradients so far; ``variance`` is not in the `rms` form."""
    names = ["fast", "slow", "slow_direction", "chunk"]
    return [*names, "variance"] if settings.form == "paper" else names


def _direction(state: dict[str, Tensor], gradient: Tensor, settings: M3Settings) -> Tensor:
    """What the rate multiplies; fast momentum and variance are moved on in place."""
    if settings.form == "paper":
        state["fast"].add_(gradient, alpha=settings.fast)
        state["variance"].addcmul_(gradient, gradient, value=settings.variance)
        both = orthogonal(state["fast"]) + settings.alpha * state["slow_direction"]
        return both / (state["variance"].sqrt() + EPS)
    state["fast"].lerp_(gradient, 1 - settings.fast)
    both = orthogonal(state["fast"]) + settings.alpha * state["slow_direction"]
    rms = both.norm() / math.sqrt(both.numel())
    return both * (RMS / rms.clamp(min=EPS))


def _close_chunk(state: dict[str, Tensor], gradient: Tensor, settings: M3Settings) -> None:
    """The gradient joins its chunk; the last one of a chunk moves the slow momentum, for the next chunk."""
    state["chunk"].add_(gradient)
    state["step"].add_(1)
    if int(state["step"]) % settings.every:
        return
    if settings.form == "paper":
        state["slow"].add_(state["chunk"], alpha=settings.slow)
    else:
        state["slow"].lerp_(state["chunk"], 1 - settings.slow)
    state["slow_direction"].copy_(orthogonal(state["slow"]))
    state["chunk"].zero_()
