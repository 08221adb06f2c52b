"""What is drawn for each clip: the puck, its strike and its table, as a function of (seed, task, clip).

Lengths are in units of the table's shorter side, times in seconds. Each quantity belongs to one shift; a task is the
set of shifts that apply to it, and a quantity whose shift does not apply is drawn from the base range.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specs.data_clips import TASKS

Array = NDArray[np.floating[Any]]

NORMAL_RADIUS = 0.07
"""The radius at which a puck of density 1 has mass 1."""

BARS = 2
"""Inner walls of a clip that has some."""

BAR_HALF_WIDTH = 0.02
_CANDIDATES = 16  # places tried for the puck, until one is clear of walls
_UNITS = 16 + 5 * BARS + 2 * _CANDIDATES

SHIFTS = ("scaling", "dissipation", "discretization", "kinematics")


@dataclass(frozen=True, kw_only=True)
class Table:
    """The shorter side is 1."""

    width: float = 1.0
    height: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Pucks:
    """Parameters of N clips; every array has N rows."""

    radius: Array
    mass: Array
    friction: Array  # coefficient of sliding, Coulomb
    ice: NDArray[np.bool_]  # the table looks it
    restitution: Array  # of walls: normal speed after over before
    spin: Array  # rad/s
    curve: Array  # radians that the path turns by for each radian of spin
    angle: Array
    position: Array  # (N, 2)
    impulse: Array  # (N, 2), mass x length / second
    bars: Array  # (N, BARS, 4): left, top, right, bottom; all zero where there is none
    coarse: NDArray[np.int64]  # steps of the finest integration that are taken as one

    def __len__(self) -> int:
        return len(self.radius)

    def where(self, rows: slice | NDArray[np.int64]) -> Pucks:
        """Some of the clips."""
        return replace(
            self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)}
        )


@dataclass(frozen=True, kw_only=True)
class Range:
    """A quantity is uniform in ``base``, and in ``shifted`` where the shift that it belongs to applies."""

    shift: str
    base: tuple[float, float]
    shifted: tuple[float, float]


RANGES: Mapping[str, Range] = {
    "radius": Range(shift="scaling", base=(0.06, 0.08), shifted=(0.09, 0.12)),
    "density": Range(shift="scaling", base=(0.85, 1.15), shifted=(0.6, 0.8)),
    "strike": Range(shift="scaling", base=(0.5, 1.1), shifted=(1.2, 2.0)),
    "friction": Range(shift="dissipation", base=(0.02, 0.10), shifted=(0.0, 0.008)),
    "spin": Range(shift="kinematics", base=(0.0, 3.0), shifted=(5.0, 9.0)),
    "curve": Range(shift="kinematics", base=(0.0, 0.0), shifted=(0.15, 0.30)),
}
"""The uniform quantities. Icy looks go with friction; inner walls and coarse time steps with `discretization`."""

COARSE = 4
"""Fine steps taken as one under `discretization`."""

RESTITUTION = (0.8, 0.95)


def combination(task: str, unit: Array) -> NDArray[np.bool_]:
    """Which shifts apply, (N, 4): none in base, its own in a shift, two that never met in `compositional_ood`."""
    applies = np.zeros((len(unit), len(SHIFTS)), bool)
    if task in SHIFTS:
        applies[:, SHIFTS.index(task)] = True
    elif task == "compositional_ood":
        pairs = np.array([(a, b) for b in range(len(SHIFTS)) for a in range(b)])
        drawn = pairs[(unit * len(pairs)).astype(np.int64)]
        np.put_along_axis(applies, drawn, True, axis=1)
    return applies


def units(seed: int, task: str, clips: Sequence[int] | NDArray[np.int64]) -> Array:
    """Numbers in [0, 1), (N, ...) of them for each clip: what everything else is a function of."""
    key = int.from_bytes(hashlib.sha256(f"{seed} {task}".encode()).digest()[:16], "little")
    # raw Philox words, whose sequence numpy promises never to change; the clip is in the counter's second word
    words = [
        np.random.Philox(key=key, counter=int(clip) << 64).random_raw(_UNITS) for clip in clips
    ]
    return (np.array(words, np.uint64).reshape(len(words), _UNITS) >> np.uint64(11)) * 2.0**-53


def ranges_with(given: Mapping[str, tuple[float, float]]) -> Mapping[str, Range]:
    """`RANGES`, of other base ranges where they are given. Raises KeyError for a quantity that is none of them."""
    return {**RANGES, **{name: replace(RANGES[name], base=given[name]) for name in given}}


def draw(
    seed: int,
    task: str,
    clips: Sequence[int] | NDArray[np.int64],
    table: Table,
    ranges: Mapping[str, Range] = RANGES,
) -> Pucks:
    """The parameters of clips of a task. Raises KeyError for a task that is none of `TASKS`."""
    if task not in TASKS:
        raise KeyError(task)
    drawn = units(seed, task, clips)
    return from_units(drawn, combination(task, drawn[:, 0]), table, ranges)


def from_units(
    u: Array,
    applies: NDArray[np.bool_],
    table: Table,
    ranges: Mapping[str, Range] = RANGES,
) -> Pucks:
    """Parameters from numbers in [0, 1) and the shifts that apply: each number has its own use in every task."""
    quantity = {
        name: _uniform(drawn, u[:, 1 + i], applies)
        for i, (name, drawn) in enumerate(ranges.items())
    }
    direction, sign = 2 * np.pi * u[:, 8], np.where(u[:, 9] < 0.5, -1.0, 1.0)
    walls = applies[:, SHIFTS.index("discretization")]
    radius = quantity["radius"]
    bars = _bars(u[:, 16 : 16 + 5 * BARS].reshape(-1, BARS, 5), table) * walls[:, None, None]
    low, high = RESTITUTION
    return Pucks(
        radius=radius,
        mass=quantity["density"] * (radius / NORMAL_RADIUS) ** 2,
        friction=quantity["friction"],
        ice=applies[:, SHIFTS.index("dissipation")],
        restitution=low + (high - low) * u[:, 10],
        spin=sign * quantity["spin"],
        curve=quantity["curve"],
        angle=2 * np.pi * u[:, 11],
        position=_position(u[:, 16 + 5 * BARS :].reshape(-1, _CANDIDATES, 2), radius, bars, table),
        impulse=quantity["strike"][:, None] * np.stack((np.cos(direction), np.sin(direction)), 1),
        bars=bars,
        coarse=np.where(walls, COARSE, 1),
    )


def _uniform(drawn: Range, u: Array, applies: NDArray[np.bool_]) -> Array:
    shifted = applies[:, SHIFTS.index(drawn.shift)]
    low = np.where(shifted, drawn.shifted[0], drawn.base[0])
    high = np.where(shifted, drawn.shifted[1], drawn.base[1])
    return low + (high - low) * u


def _bars(u: Array, table: Table) -> Array:
    """Lying or standing bars about the middle of the table, (N, BARS, 4), from (N, BARS, 5)."""
    middle = (0.25 + 0.5 * u[..., :2]) * (table.width, table.height)
    long = 0.10 + 0.12 * u[..., 2]
    lying = u[..., 3] < 0.5
    half = np.stack(
        (np.where(lying, long, BAR_HALF_WIDTH), np.where(lying, BAR_HALF_WIDTH, long)), -1
    )
    return np.concatenate((middle - half, middle + half), -1)


def _position(u: Array, radius: Array, bars: Array, table: Table) -> Array:
    """The first candidate that is clear of bars; the clearest one where none is. (N, 2) from (N, 16, 2)."""
    room = np.array((table.width, table.height)) - 2 * radius[:, None]
    places = radius[:, None, None] + u * room[:, None]
    clear = (distance_to_bars(places[:, :, None], bars[:, None]) - radius[:, None, None]).min(-1)
    first = np.where((clear > 0).any(1), (clear > 0).argmax(1), clear.argmax(1))
    return np.asarray(places[np.arange(len(places)), first])


def distance_to_bars(points: Array, bars: Array) -> Array:
    """From points (..., 2) to boxes (..., 4), zero within; infinite for a box without area."""
    low, high = bars[..., :2], bars[..., 2:]
    outside = np.maximum(np.maximum(low - points, points - high), 0.0)
    there = (high > low).all(-1)
    return np.where(there, np.hypot(outside[..., 0], outside[..., 1]), np.inf)
