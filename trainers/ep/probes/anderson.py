"""Is there an equilibrium at all, and would the dynamics stay at it? Anderson, then Newton-GMRES, then the spectrum.

A relaxation that does not settle has two very different reasons: there is no root, or there is one that the dynamics
leave (Re mu > 0). Anderson often finds a root that Euler cannot; Newton-GMRES, which knows nothing of stability, is
asked where Anderson fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from torch import Tensor

from trainers.ep.abscissa import rightmost
from trainers.ep.probes import Say
from trainers.ep.probes.model import Model, force_residual
from trainers.ep.probes.root import EVALUATIONS, accelerate, better, search

ROOT = 1e-5
"""The force residual that counts as a root here: what Anderson reaches in float32 as well."""


class Verdict(StrEnum):
    NO_ROOT = "no root"
    UNSTABLE = "root, Re mu > 0"
    STABLE = "root, stable"


@dataclass(frozen=True, kw_only=True)
class Options:
    evaluations: int = EVALUATIONS

    def __post_init__(self) -> None:
        if self.evaluations < 1:
            raise ValueError(f"evaluations is {self.evaluations}, allowed: 1 or more")


@dataclass(frozen=True, kw_only=True)
class AndersonRow:
    """One sequence. ``g`` = ||F|| / ||z||; ``max_re_mu`` at the root, None without one."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "sequence", "verdict", "g_euler", "g_anderson", "g_newton", "max_re_mu", "im_mu",
    )  # fmt: skip

    model: str
    sequence: int
    verdict: Verdict
    g_euler: float  # of the refined state
    g_anderson: float
    g_newton: float | None  # None where Anderson had found the root
    newton_steps: int | None
    max_re_mu: float | None
    im_mu: float | None
    token: int | None
    finding: str


def probe(model: Model, options: Options, say: Say) -> tuple[AndersonRow, ...]:
    """One row a sequence."""
    g_euler = force_residual(model.system.force, model.relaxed.z_ref)
    say(f"{model.name}: Anderson, {options.evaluations} forces")
    z = accelerate(model, options.evaluations)
    return tuple(
        _row(model.only(b), b, z[b : b + 1], float(g_euler[b]), say) for b in range(len(z))
    )


def _row(model: Model, sequence: int, z: Tensor, g_euler: float, say: Say) -> AndersonRow:
    g_anderson = float(force_residual(model.system.force, z))
    g_newton = newton_steps = None
    if not g_anderson <= ROOT:
        say(f"{model.name}: sequence {sequence}: Newton-GMRES")
        found = better(
            search(model, model.relaxed.z_ref, tolerance=0.01 * ROOT),
            search(model, z, tolerance=0.01 * ROOT),
        )
        z, g_newton, newton_steps = found.z, float(found.g), found.iterations
    g = g_anderson if g_newton is None else g_newton
    worst = rightmost(model.system.linearise(z)) if g <= ROOT else None
    if worst is None:
        verdict = Verdict.NO_ROOT
    else:
        verdict = Verdict.UNSTABLE if worst.re_mu > 0 else Verdict.STABLE
    return AndersonRow(
        model=model.name,
        sequence=sequence,
        verdict=verdict,
        g_euler=g_euler,
        g_anderson=g_anderson,
        g_newton=g_newton,
        newton_steps=newton_steps,
        max_re_mu=None if worst is None else worst.re_mu,
        im_mu=None if worst is None else worst.im_mu,
        token=None if worst is None else worst.token,
        finding=_FINDINGS[verdict],
    )


_FINDINGS = {
    Verdict.NO_ROOT: "neither Anderson nor Newton-GMRES finds a root from here; one elsewhere is possible",
    Verdict.UNSTABLE: "there is an equilibrium, and the dynamics leave it",
    Verdict.STABLE: "there is an equilibrium, and the dynamics stay at it for eps small enough",
}
