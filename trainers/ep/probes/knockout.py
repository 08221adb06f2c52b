"""Is it attention that keeps the state from settling? W_O scaled down step by step, to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainers.ep.probes import Say
from trainers.ep.probes.model import ROOT, Model
from trainers.ep.probes.motion import FINDINGS, Fate, observe


@dataclass(frozen=True, kw_only=True)
class Options:
    scales: tuple[float, ...] = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
    time: float = 60.0  # eps x steps of each relaxation

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 0:
            raise ValueError(f"scales are {list(self.scales)}, allowed: numbers of 0 or more")
        if not self.time > 0:
            raise ValueError(f"time is {self.time:g}, allowed: more than 0")


@dataclass(frozen=True, kw_only=True)
class KnockoutRow:
    """The sequence that does worst under W_O <- scale W_O. ``g`` = ||F|| / ||z||, its floor at the end."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "scale", "fate", "g", "amplitude", "period", "sequence",
    )  # fmt: skip

    model: str
    scale: float
    fate: Fate
    g: float
    amplitude: float  # rms over the norm of the mean state
    period: float | None
    sequence: int
    settled: int  # sequences that end at a root
    sequences: int
    steps: int
    finding: str


def probe(model: Model, options: Options, say: Say) -> tuple[KnockoutRow, ...]:
    """One row a scale, all from z_0 over the same time eps x steps."""
    steps = max(4, round(options.time / model.eps))
    rows = []
    for scale in options.scales:
        say(f"{model.name}: W_O x {scale:g}, {steps} steps")
        knocked = model.with_params(model.params._replace(W_O=scale * model.params.W_O))
        seen = observe(knocked.system.force, knocked.start, eps=model.eps, steps=steps, root=ROOT)
        at = max(range(len(seen)), key=lambda b: (seen[b].fate is not Fate.ROOT, seen[b].g))
        worst = seen[at]
        rows.append(
            KnockoutRow(
                model=model.name,
                scale=scale,
                fate=worst.fate,
                g=worst.g,
                amplitude=worst.amplitude,
                period=worst.period,
                sequence=at,
                settled=sum(motion.fate is Fate.ROOT for motion in seen),
                sequences=len(seen),
                steps=steps,
                finding=FINDINGS[worst.fate],
            )
        )
    return tuple(rows)
