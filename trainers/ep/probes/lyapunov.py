"""Does the free phase of T1 steps forget where it began? The largest Lyapunov exponent over finite time.

Tangents follow the trajectory, d <- d + eps J(z_t) d, and are brought back to length one at every step; the exponent is
the mean of the logarithms of their growth. exp(T1 exponent) is what is left of a perturbation of z_0 after T1 steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainers.ep.estimators.system import Jacobian
from trainers.ep.norms import per_sequence_norm
from trainers.ep.probes import Say
from trainers.ep.probes.model import Model, force_residual


@dataclass(frozen=True, kw_only=True)
class Options:
    tangents: int = 8

    def __post_init__(self) -> None:
        if self.tangents < 1:
            raise ValueError(f"tangents is {self.tangents}, allowed: 1 or more")


@dataclass(frozen=True, kw_only=True)
class LyapunovRow:
    """One sequence; ``exponent`` per step of Euler, the largest over the tangents."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "sequence", "T1", "eps", "exponent", "per_time", "left_after_T1", "g_T1",
    )  # fmt: skip

    model: str
    sequence: int
    T1: int
    eps: float
    exponent: float
    per_time: float  # exponent / eps
    left_after_T1: float  # exp(T1 exponent)
    g_T1: float
    finding: str


def probe(model: Model, options: Options, say: Say) -> tuple[LyapunovRow, ...]:
    """One row a sequence, from z_0 through T1 steps."""
    relaxation = model.settings.relaxation
    eps, T1 = relaxation.eps, relaxation.T1
    say(f"{model.name}: {options.tangents} tangents through {T1} steps")
    z, exponents = finite_time_exponents(
        model.system.force,
        model.system.linearise,
        model.start,
        eps=eps,
        steps=T1,
        tangents=options.tangents,
    )
    g = force_residual(model.system.force, z)
    return tuple(
        LyapunovRow(
            model=model.name,
            sequence=b,
            T1=T1,
            eps=eps,
            exponent=value,
            per_time=value / eps,
            left_after_T1=math.exp(min(T1 * value, 700.0)),
            g_T1=float(g[b]),
            finding="perturbations grow" if value > 0 else "perturbations decay",
        )
        for b, value in enumerate(exponents.tolist())
    )


@torch.no_grad()
def finite_time_exponents(
    force: Callable[[Tensor], Tensor],
    linearise: Callable[[Tensor], Jacobian],
    z: Tensor,
    *,
    eps: float,
    steps: int,
    tangents: int,
) -> tuple[Tensor, Tensor]:
    """The state after ``steps`` from ``z`` (B, T, C), and the largest (1/steps) sum ln growth per sequence, (B,)."""
    source = torch.Generator().manual_seed(0)
    drawn = torch.randn(tangents, *z.shape, generator=source, dtype=torch.float64).to(z)
    d = drawn / per_sequence_norm(drawn)[..., None, None]
    total = torch.zeros(tangents, len(z), dtype=torch.float64, device=z.device)
    for _ in range(steps):
        d = torch.add(d, linearise(z).jvp(d), alpha=eps)
        growth = per_sequence_norm(d)
        total += growth.double().log()
        d = d / growth[..., None, None]
        z = torch.add(z, force(z), alpha=eps)
    return z, (total / steps).amax(0)
