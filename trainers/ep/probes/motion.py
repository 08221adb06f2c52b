"""Where does a relaxation end: at a root, on a cycle, nowhere? Judged by the force alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm

MOVES = 1e-5
"""Amplitude, relative to the state, below which nothing moves."""

STEADY = 0.9
"""The residual still falls if its median over the window's second half is less than this of the first half's,
and still rises if it is the other way round."""

RETURNS = 0.05
"""A cycle comes back to within this share of the largest squared distance it ever has from itself."""

TRACK = 4000
"""The last steps among which a period is looked for; the work grows with the square of it."""

_DIRECTIONS = 16


class Fate(StrEnum):
    ROOT = "root"
    CYCLE = "limit cycle"
    FALLING = "still falling"
    RISING = "still rising"
    RESTLESS = "restless"  # neither settles nor repeats within the window
    DIVERGED = "diverged"


FINDINGS = {
    Fate.ROOT: "it settles",
    Fate.CYCLE: "it goes round: a Hopf bifurcation lies behind",
    Fate.FALLING: "the residual still falls: more steps would tell",
    Fate.RISING: "the residual still rises: more steps would tell",
    Fate.RESTLESS: "it neither settles nor repeats itself within the window",
    Fate.DIVERGED: "it leaves every bound",
}
"""Each fate in words; a residual that still moves is no verdict."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A relaxation of one sequence. Times are in units of eps x steps."""

    fate: Fate
    g: float  # the smallest force residual in the window at the end
    g_end: float
    amplitude: float  # rms distance from the window's mean state, over the norm of that state
    period: float | None
    residuals: tuple[tuple[float, float], ...]  # (time, force residual), thinned out


@torch.no_grad()
def observe(
    force: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    eps: float,
    steps: int,
    root: float,
    points: int = 200,
) -> tuple[Motion, ...]:
    """Relax ``z`` (B, T, C) for ``steps`` and judge each sequence by the last half. ``root``: g of a root."""
    window = max(2, steps // 2)
    directions = _directions(z)
    g = torch.empty(steps + 1, len(z), dtype=z.dtype, device=z.device)
    tracked = min(window, TRACK)
    track = torch.empty(tracked, len(z), _DIRECTIONS, dtype=z.dtype, device=z.device)
    spread = _Spread()
    for step in range(steps + 1):
        f = force(z)
        g[step] = per_sequence_norm(f) / per_sequence_norm(z)
        left = steps - step
        if left < tracked:
            track[tracked - 1 - left] = z.flatten(1) @ directions
        if left < window:
            spread.see(z)
        if step < steps:
            z = torch.add(z, f, alpha=eps)
    amplitude = spread.amplitude()
    g, track = g.cpu(), track.cpu()
    return tuple(
        _judge(g[:, b], window, track[:, b], float(amplitude[b]), eps, root, points)
        for b in range(len(z))
    )


def _directions(z: Tensor) -> Tensor:
    """Fixed random directions of the state of a sequence, (T C, 16): cheap to remember, they show every cycle."""
    size = z[0].numel()
    source = torch.Generator().manual_seed(0)
    drawn = torch.randn(size, _DIRECTIONS, generator=source, dtype=torch.float64)
    return (drawn / math.sqrt(size)).to(z)


class _Spread:
    """Mean and variance of states, as differences from the first: a small cycle on a large state is not lost."""

    def __init__(self) -> None:
        self._count = 0

    def see(self, z: Tensor) -> None:
        if self._count == 0:
            self._first, self._sum = z, torch.zeros_like(z)
            self._squares = torch.zeros(len(z), dtype=torch.float64, device=z.device)
        moved = z - self._first
        self._sum += moved
        self._squares += per_sequence_norm(moved).double().square()
        self._count += 1

    def amplitude(self) -> Tensor:
        mean = self._sum / self._count
        variance = self._squares / self._count - per_sequence_norm(mean).double().square()
        return variance.clamp(min=0).sqrt() / per_sequence_norm(self._first + mean)


def _judge(
    g: Tensor,
    last: int,
    track: Tensor,
    amplitude: float,
    eps: float,
    root: float,
    points: int,
) -> Motion:
    lags = period_of(track) if amplitude > MOVES else None
    window = g[-last:]
    every = max(1, len(g) // points)
    kept = range(0, len(g), every)
    return Motion(
        fate=_fate(window, amplitude, root, lags is not None),
        g=float(window.min()),
        g_end=float(g[-1]),
        amplitude=amplitude,
        period=None if lags is None else lags * eps,
        residuals=tuple((eps * step, float(g[step])) for step in kept),
    )


def _fate(g: Tensor, amplitude: float, root: float, repeats: bool) -> Fate:
    if not bool(g.isfinite().all()):
        return Fate.DIVERGED
    if float(g[-1]) <= root:
        return Fate.ROOT
    early, late = (float(half.median()) for half in g.chunk(2))
    if late < STEADY * early:
        return Fate.FALLING
    if early < STEADY * late:
        return Fate.RISING
    return Fate.CYCLE if repeats and amplitude > MOVES else Fate.RESTLESS


def period_of(track: Tensor) -> float | None:
    """Period of a path (n, d) in samples: the first lag at which it comes back to itself; None if it does not.

    D(l) = mean_i |p_i - p_{i+l}|^2 rises from zero to its first peak and comes back near zero after one period.
    A parabola through the minimum gives fractions of a sample.
    """
    n = len(track)
    lags = range(1, n // 2)
    if len(lags) < 3 or not bool(track.isfinite().all()):
        return None
    D = torch.stack([(track[lag:] - track[:-lag]).square().sum(-1).mean() for lag in lags])
    near = RETURNS * D.max() >= D
    left = torch.nonzero(~near)
    if not len(left):
        return None
    back = torch.nonzero(near[int(left[0]) :])
    if not len(back):
        return None
    begin = int(left[0]) + int(back[0])
    away = torch.nonzero(~near[begin:])
    if not len(away):
        return None  # it came to rest and did not leave again
    at = begin + int(D[begin : begin + int(away[0])].argmin())
    return lags[at] + _vertex(D, at)


def _vertex(D: Tensor, at: int) -> float:
    if not 0 < at < len(D) - 1:
        return 0.0
    left, middle, right = (float(D[i]) for i in (at - 1, at, at + 1))
    curvature = left - 2 * middle + right
    return 0.5 * (left - right) / curvature if curvature > 0 else 0.0
