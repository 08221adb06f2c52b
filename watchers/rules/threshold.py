"""``threshold``: a metric lies beyond a bound for so many points in a row."""

from __future__ import annotations

import math

from specs.watch import Threshold
from watchers.verdict import (
    Moment,
    Phase,
    Verdict,
    alarm_if,
    ends_attempt,
    fired,
    go_on,
    in_a_row,
    listed,
    number,
)
from watchers.window import Point, Series, Window


def judge(rule: Threshold, window: Window, moment: Moment) -> Verdict:
    """Fires on the point that completes the row.

    The bound itself is not beyond. A NaN lies on neither side: it is skipped, neither counting nor
    ending a row. Only a rule that kills speaks about health: with ``alert`` or ``checkpoint`` the
    bound may as well be a goal. Its alarm begins at the last point that was not beyond.
    """
    del moment  # a bound has no clock
    series = window.of(rule.metric)
    row, outside = _row(rule, series)
    harmful = ends_attempt(rule)
    if len(row) < rule.for_points:
        phase = Phase.SUSPECT if harmful and row else Phase.CALM
        return go_on(rule, f"{len(row)} of {rule.for_points} points in a row", phase)
    new = rule.metric in window.touched and not math.isnan(series[-1].value)
    if len(row) > rule.for_points or not new:
        return go_on(rule, "still beyond the bound", alarm_if(harmful))
    return _fire(rule, window, row, outside)


def _beyond(rule: Threshold, value: float) -> bool:
    if rule.above is not None:
        return value > rule.above
    return rule.below is not None and value < rule.below


def _row(rule: Threshold, series: Series) -> tuple[list[Point], Point | None]:
    """The newest points in a row beyond the bound, newest first and at most one more than the rule
    asks; and the point before them that was not beyond."""
    row: list[Point] = []
    for index in range(len(series) - 1, -1, -1):
        point = series[index]
        if math.isnan(point.value):
            continue
        if not _beyond(rule, point.value):
            return row, point
        row.append(point)
        if len(row) > rule.for_points:
            break
    return row, None


def _fire(rule: Threshold, window: Window, row: list[Point], outside: Point | None) -> Verdict:
    newest = row[0]
    side, bound = ("above", rule.above) if rule.above is not None else ("below", rule.below)
    assert bound is not None  # the model admits exactly one side
    return fired(
        rule,
        rule.metric,
        newest,
        f"{rule.metric} was {side} {number(bound)}{in_a_row(len(row))}: "
        f"{number(newest.value)} at step {newest.step}",
        onset=window.first_step if outside is None else outside.step,
        evidence={side: bound, "for_points": rule.for_points, "points": listed(row[::-1])},
        alarm=ends_attempt(rule),
    )
