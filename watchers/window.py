"""What a rule sees of an attempt: for every metric its points so far. Immutable.

Order. Lines are taken in file order, and per metric the file order rules:

- a later step is one more point;
- the same (metric, step, t, value) again is the same point, wherever it comes: nothing changes;
- the step of the newest point again replaces that point: a step written twice counts once;
- an earlier step means that the trainer went back (it resumed by itself): the points of that metric
  at that step and after it belong to a past that was given up, and are dropped.

So the steps of a series always increase.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from specs.files import MetricLine
from watchers.training_phases import TrainingPhases


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One value of one metric; ``t`` in unix seconds."""

    step: int
    t: float
    value: float


class _Columns:
    """Storage that only grows; every Series sees the first rows of one."""

    __slots__ = ("bests", "steps", "times", "values")

    def __init__(self) -> None:
        self.steps = array("q")
        self.times = array("d")
        self.values = array("d")
        self.bests: dict[int, tuple[int, array[int]]] = {}

    def copy(self, size: int) -> _Columns:
        copy = _Columns()
        copy.steps, copy.times, copy.values = (
            self.steps[:size],
            self.times[:size],
            self.values[:size],
        )
        copy.bests = {
            since: (min(start, size), rows[: max(0, size - start)])
            for since, (start, rows) in self.bests.items()
        }
        return copy

    def best(self, since: int, row: int) -> int:
        """Row of the lowest finite value in rows 0..row with step >= since; -1 if there is none.

        Rows before the first that may count are not kept: a training of many phases asks for many.
        """
        if since not in self.bests:
            self.bests[since] = bisect_left(self.steps, since), array("q")
        start, rows = self.bests[since]
        while start + len(rows) <= row:
            here, last = start + len(rows), rows[-1] if rows else -1
            value = self.values[here]
            better = math.isfinite(value) and (last < 0 or value < self.values[last])
            rows.append(here if better and self.steps[here] >= since else last)
        return rows[row - start] if row >= start else -1


class Series:
    """Points of one metric with increasing steps. Immutable: ``append`` returns another Series.

    Appending to the newest Series costs O(1), because it shares its storage with the older ones;
    going back in steps copies. 32 bytes a point.
    """

    __slots__ = ("_columns", "_size")

    def __init__(self) -> None:
        self._columns = _Columns()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, row: int) -> Point:
        if row < 0:
            row += self._size
        if not 0 <= row < self._size:
            raise IndexError(f"row {row} of a series of {self._size} points")
        columns = self._columns
        return Point(step=columns.steps[row], t=columns.times[row], value=columns.values[row])

    def __iter__(self) -> Iterator[Point]:
        return (self[row] for row in range(self._size))

    def row_from(self, step: int) -> int:
        """The first row whose step is ``step`` or later; ``len(self)`` if there is none."""
        return bisect_left(self._columns.steps, step, hi=self._size)

    def at(self, step: int) -> Point | None:
        row = self.row_from(step)
        return self[row] if row < self._size and self._columns.steps[row] == step else None

    def append(self, step: int, t: float, value: float) -> Series:
        """This series and one more point, by the order that this module describes."""
        row = self.row_from(step)
        if row < self._size:
            old = self[row]
            if old.step == step and old.t == t and same(old.value, value):
                return self
        columns = self._columns
        if row < len(columns.steps):
            columns = columns.copy(row)
        columns.steps.append(step)
        columns.times.append(t)
        columns.values.append(value)
        longer = Series()
        longer._columns, longer._size = columns, row + 1
        return longer

    def best(self, *, since: int = 0, row: int = -1) -> Point | None:
        """The first of the lowest finite values up to ``row``, of points at step ``since`` or later."""
        if not self._size:
            return None
        found = self._columns.best(since, row if row >= 0 else self._size + row)
        return self[found] if found >= 0 else None

    def streak(self, holds: Callable[[int], bool], most: int) -> int:
        """How many of the newest points in a row satisfy ``holds(row)``; counts no further than most."""
        length = 0
        while length < min(most, self._size) and holds(self._size - 1 - length):
            length += 1
        return length


def same(one: float, other: float) -> bool:
    """Equal, or both NaN."""
    return one == other or (math.isnan(one) and math.isnan(other))


@dataclass(frozen=True, kw_only=True, slots=True)
class Latest:
    """The newest point of a metric, and how sound its values are.

    ``bad``: non-finite points in a row, ending with this one; ``finite_step``: the step of the
    newest finite one. The two ``_before`` are the same without this step, for when it is replaced.
    """

    step: int
    t: float
    value: float
    bad: int
    finite_step: int | None
    bad_before: int
    finite_before: int | None


@dataclass(frozen=True, kw_only=True)
class Window:
    """The points so far. Whole series only for the metrics in ``keep``: those that somebody judges.

    ``touched``: the metrics with a new point in the newest line. ``unsound``: those whose newest
    value is not finite. ``step``: of the newest line; ``first_step``: of the first. ``training``: the
    phases of the training; rules that compare a value with earlier ones look no further back than to
    ``since``.
    """

    keep: frozenset[str]
    series: Mapping[str, Series] = field(default_factory=dict)
    latest: Mapping[str, Latest] = field(default_factory=dict)
    touched: tuple[str, ...] = ()
    unsound: frozenset[str] = field(default_factory=frozenset)
    step: int | None = None
    first_step: int | None = None
    points: int = 0
    lines: int = 0
    training: TrainingPhases = field(default_factory=TrainingPhases)

    def append(self, line: MetricLine) -> Window:
        """This window and one more line."""
        series, latest = dict(self.series), dict(self.latest)
        touched = []
        for metric, value in line.metrics.items():
            old = latest.get(metric)
            if metric in self.keep:
                before = series.get(metric, _EMPTY)
                series[metric] = before.append(line.step, line.t, value)
                if series[metric] is before:
                    continue
            elif old is not None and _repeats(old, line, value):
                continue
            latest[metric] = _follow(old, line, value)
            touched.append(metric)
        return replace(
            self,
            series=series,
            latest=latest,
            touched=tuple(touched),
            unsound=_unsound(self.unsound, touched, latest),
            step=line.step,
            first_step=line.step if self.first_step is None else self.first_step,
            points=self.points + len(touched),
            lines=self.lines + 1,
            training=self.training.take(line),
        )

    def since(self, after_step: int) -> int:
        """The first step that an earlier value may have, of a rule that judges from ``after_step`` on."""
        return max(after_step, self.training.since)

    def of(self, metric: str) -> Series:
        """The series of a kept metric. Raises KeyError for one that is not kept: a mistake of ours."""
        if metric not in self.keep:
            raise KeyError(f"the window keeps no series of {metric!r}, only of {sorted(self.keep)}")
        return self.series.get(metric, _EMPTY)

    def values_at(self, step: int, metrics: Mapping[str, object]) -> dict[str, float]:
        """The values at ``step`` of those of the kept ``metrics`` that have one there."""
        found = {metric: self.of(metric).at(step) for metric in metrics}
        return {metric: point.value for metric, point in found.items() if point is not None}


_EMPTY = Series()


def _repeats(old: Latest, line: MetricLine, value: float) -> bool:
    return old.step == line.step and old.t == line.t and same(old.value, value)


def _follow(old: Latest | None, line: MetricLine, value: float) -> Latest:
    if old is None:
        bad_before, finite_before = 0, None
    elif old.step == line.step:
        bad_before, finite_before = old.bad_before, old.finite_before
    else:
        bad_before, finite_before = old.bad, old.finite_step
    finite = math.isfinite(value)
    return Latest(
        step=line.step,
        t=line.t,
        value=value,
        bad=0 if finite else bad_before + 1,
        finite_step=line.step if finite else finite_before,
        bad_before=bad_before,
        finite_before=finite_before,
    )


def _unsound(
    before: frozenset[str], touched: list[str], latest: Mapping[str, Latest]
) -> frozenset[str]:
    bad = {metric for metric in touched if latest[metric].bad}
    if not bad and not before:
        return before
    return (before - set(touched)) | bad
