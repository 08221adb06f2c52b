"""``spectrum``: max Re mu lies above a bound, or a line through its newest points soon will."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from specs.watch import SpectrumRule
from watchers.line import Line, fit
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

SURE = 2.0
"""Standard errors by which a line must clear the bound: an estimate is noisy, and a line through
noise points anywhere."""


def judge(rule: SpectrumRule, window: Window, moment: Moment) -> Verdict:
    """Fires on the point that completes the row above the bound, or that turns the line towards it.

    The bound itself is not above. Skipped are NaN and, for a line, infinities. Re mu above the
    bound is an alarm whatever the action; it begins at the last point that was not above. A forecast
    says nothing about the health of what is there, unless it kills: then the alarm begins at the
    lowest point of the line, which is drawn through points of one phase of the training.
    """
    del moment  # a curve has no clock
    series = window.of(rule.metric)
    forecast = rule.within_steps is not None
    usable = math.isfinite if forecast else _is_number
    since = window.since(rule.after_step) if forecast else rule.after_step
    points = _newest(series, rule, since, usable)
    row = _turns(rule, points) if forecast else _row(rule, points)
    needed = 1 if forecast else rule.points
    speaks = not forecast or ends_attempt(rule)
    if row < needed:
        phase = Phase.SUSPECT if row else Phase.CALM
        return go_on(rule, f"{row} of {needed} points in a row", phase)
    if row > needed or rule.metric not in window.touched or not usable(series[-1].value):
        return go_on(rule, "still above the bound, or still rising to it", alarm_if(speaks))
    return _foresee(rule, points[-rule.points :]) if forecast else _fire(rule, window, points)


def _is_number(value: float) -> bool:
    return not math.isnan(value)


def _newest(
    series: Series, rule: SpectrumRule, since: int, usable: Callable[[float], bool]
) -> list[Point]:
    """The newest usable points from step ``since`` on, oldest first: one more than the rule asks for."""
    points: list[Point] = []
    row = len(series) - 1
    first = series.row_from(since)
    while row >= first and len(points) <= rule.points:
        point = series[row]
        if usable(point.value):
            points.append(point)
        row -= 1
    return points[::-1]


def _row(rule: SpectrumRule, points: Sequence[Point]) -> int:
    """How many of the newest points in a row lie above the bound."""
    row = 0
    while row < len(points) and points[-1 - row].value > rule.above:
        row += 1
    return row


def _turns(rule: SpectrumRule, points: Sequence[Point]) -> int:
    """Does the line clear the bound (1), and did it at the point before too (2)?"""
    if len(points) < rule.points or not _clears(rule, points[-rule.points :]):
        return 0
    earlier = points[-1 - rule.points : -1]
    return 2 if len(earlier) == rule.points and _clears(rule, earlier) else 1


def _clears(rule: SpectrumRule, points: Sequence[Point]) -> bool:
    """Surely above the bound at the newest point, or so many steps after it.

    A line is extended by no more than its own length: beyond that, noise decides its slope.
    """
    line, now = fit(points), points[-1].step
    ends = (now, now + min(rule.within_steps or 0, now - points[0].step))
    return any(line.at(step) - SURE * line.error(step) > rule.above for step in ends)


def _fire(rule: SpectrumRule, window: Window, points: Sequence[Point]) -> Verdict:
    row = points[-rule.points :]
    outside = points[0] if len(points) > rule.points else None
    newest, shown = row[-1], row[-5:]
    told = ", ".join(f"{number(point.value)} at step {point.step}" for point in shown)
    return fired(
        rule,
        rule.metric,
        newest,
        f"{rule.metric} was above {number(rule.above)}{in_a_row(len(row))}: "
        f"{'..., ' if len(row) > len(shown) else ''}{told}",
        onset=window.first_step if outside is None else outside.step,
        evidence={"above": rule.above, "for_points": rule.points, "points": listed(row)},
    )


def _foresee(rule: SpectrumRule, points: Sequence[Point]) -> Verdict:
    line, newest = fit(points), points[-1]
    lowest = min(points, key=lambda point: point.value)
    return fired(
        rule,
        rule.metric,
        newest,
        _outlook(rule, line, points),
        onset=lowest.step,
        evidence={
            "above": rule.above,
            "within_steps": rule.within_steps,
            "for_points": rule.points,
            "onset": lowest.step,
            "slope_per_step": line.slope,
            "line_now": line.at(newest.step),
            "error_now": line.error(newest.step),
            "crossing_step": _crossing(rule, line, newest.step),
            "points": listed(points),
        },
        alarm=ends_attempt(rule),
    )


def _outlook(rule: SpectrumRule, line: Line, points: Sequence[Point]) -> str:
    first, now = points[0].step, points[-1].step
    crossing = _crossing(rule, line, now)
    drawn = f"a line through {len(points)} points from step {first}"
    if crossing is None:
        return (
            f"{rule.metric} is above {number(rule.above)} by {drawn}: "
            f"{number(line.at(now))} at step {now}"
        )
    return (
        f"{rule.metric} rises by {number(100 * line.slope)} in 100 steps, by {drawn}: "
        f"{number(line.at(now))} at step {now}, above {number(rule.above)} from step {crossing} on"
    )


def _crossing(rule: SpectrumRule, line: Line, now: int) -> int | None:
    """The first step above the bound, by the line; None where it is above already."""
    if line.at(now) > rule.above:
        return None
    return math.floor(now + (rule.above - line.at(now)) / line.slope) + 1
