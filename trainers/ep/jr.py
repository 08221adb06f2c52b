"""The weight of the Jacobian penalty: frozen, or led by the residual.

jr <- clip(jr (r / target)^0.3, floor, max) on a smoothed r, by at most a factor 1.2 an update: the raw rule
reacts to single spikes of the residual with spikes of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from specs.trainer_ep import Jacreg

POWER = 0.3
MOST_AT_ONCE = 1.2
SMOOTHING = 0.9  # per training step, on log r
SMALLEST = 1e-12


@dataclass(frozen=True, kw_only=True)
class JrState:
    jr: float
    log_residual: float | None = None


def initial(settings: Jacreg) -> JrState:
    low, high = limits(settings)
    return JrState(jr=min(max(settings.weight, low), high))


def limits(settings: Jacreg) -> tuple[float, float]:
    """Floor and max; each is the weight where it is left out."""
    low = settings.weight if settings.floor is None else settings.floor
    high = settings.weight if settings.max is None else settings.max
    return low, high


def update(state: JrState, settings: Jacreg, r_T1: float, step: int) -> JrState:
    """The state after training step ``step`` (from 1) with step residual ``r_T1``."""
    low, high = limits(settings)
    log_r = math.log(max(r_T1, SMALLEST))
    smooth = (
        log_r
        if state.log_residual is None
        else SMOOTHING * state.log_residual + (1 - SMOOTHING) * log_r
    )
    jr = state.jr
    if low < high and step % settings.every == 0:
        log_factor = POWER * (smooth - math.log(settings.target))
        most = math.log(MOST_AT_ONCE)
        jr *= math.exp(min(max(log_factor, -most), most))
    return JrState(jr=min(max(jr, low), high), log_residual=smooth)
