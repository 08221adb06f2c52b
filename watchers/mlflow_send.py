"""A batch that is refused is halved until the bad points are known. Pure but for the port it calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from watchers.mlflow_port import LARGEST_BATCH, Point, Refused, Unsure, unfit

LAST_TRIES = 4

Log = Callable[[Sequence[Point]], None]


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A point that the store will not take, in the store's words."""

    point: Point
    why: str


def send(
    points: Sequence[Point], log: Log, *, still_up: Callable[[], None] | None = None
) -> tuple[Rejected, ...]:
    """Send all points, in batches; the ones that were refused.

    ``still_up`` is given when the same batch failed several times in a way that says nothing: then a
    lone point that fails again while ``still_up`` (which writes something harmless) does not raise
    counts as refused. Raises what ``log`` raises but Refused; points before it were sent, and sending
    them again does no harm.
    """
    checked = [(point, unfit(point)) for point in points]
    rejected = [Rejected(point=point, why=why) for point, why in checked if why is not None]
    good = [point for point, why in checked if why is None]
    for start in range(0, len(good), LARGEST_BATCH):
        rejected += _halve(good[start : start + LARGEST_BATCH], log, still_up)
    return tuple(rejected)


def _halve(
    points: Sequence[Point], log: Log, still_up: Callable[[], None] | None
) -> list[Rejected]:
    try:
        log(points)
        return []
    except Refused as error:
        if len(points) == 1:
            return [Rejected(point=points[0], why=str(error))]
    except Unsure:
        if still_up is None:
            raise
        if len(points) == 1:
            return _last_tries(points[0], log, still_up)
    middle = len(points) // 2
    return _halve(points[:middle], log, still_up) + _halve(points[middle:], log, still_up)


def _last_tries(point: Point, log: Log, still_up: Callable[[], None]) -> list[Rejected]:
    """Several, so that a store that fails at random loses nothing."""
    why = ""
    for _ in range(LAST_TRIES):
        still_up()
        try:
            log([point])
            return []
        except (Refused, Unsure) as error:
            why = str(error)
    return [Rejected(point=point, why=why)]
