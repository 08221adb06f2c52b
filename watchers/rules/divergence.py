"""``divergence``: a metric stays above its best value so far by a margin."""

from __future__ import annotations

import math

from specs.watch import Divergence
from watchers.verdict import Moment, Phase, Verdict, fired, go_on, in_a_row, listed, number
from watchers.window import Point, Series, Window


def judge(rule: Divergence, window: Window, moment: Moment) -> Verdict:
    """Fires on the point that completes ``for_points`` in a row above best + margin.

    A value that is not finite counts as above. The best is the lowest finite value so far, of the
    points at ``after_step`` or later, for only those are judged; of equal ones the first. Where the
    training has phases, those of the present one alone: the next may learn something else. Its step
    is the onset of the alarm; where no value was ever finite, the first step of the phase is, or of the attempt.
    """
    del moment  # a curve has no clock
    series, since = window.of(rule.metric), window.since(rule.after_step)
    row = series.streak(
        lambda index: _is_above(rule, series, since, index), most=rule.for_points + 1
    )
    if row < rule.for_points:
        phase = Phase.SUSPECT if row else Phase.CALM
        return go_on(rule, f"{row} of {rule.for_points} points in a row", phase)
    if row > rule.for_points or rule.metric not in window.touched:
        return go_on(rule, "still above its best value by more than the margin", Phase.ALARM)
    return _fire(rule, window, [series[index - row] for index in range(row)])


def _is_above(rule: Divergence, series: Series, since: int, index: int) -> bool:
    point = series[index]
    if point.step < since:
        return False
    if not math.isfinite(point.value):
        return True
    best = series.best(since=since, row=index)
    return best is not None and point.value > best.value + rule.above_best_by


def _fire(rule: Divergence, window: Window, row: list[Point]) -> Verdict:
    best = window.of(rule.metric).best(since=window.since(rule.after_step))
    newest, shown = row[-1], row[-5:]
    points = ", ".join(f"{number(point.value)} at step {point.step}" for point in shown)
    return fired(
        rule,
        rule.metric,
        newest,
        f"{_claim(rule, best, len(row), window.training.said)}: {'..., ' if len(row) > len(shown) else ''}{points}",
        onset=_first_step(window) if best is None else best.step,
        evidence={
            "best": None if best is None else best.value,
            "best_step": None if best is None else best.step,
            "above_best_by": rule.above_best_by,
            "for_points": rule.for_points,
            **window.training.facts,
            "points": listed(row),
        },
    )


def _first_step(window: Window) -> int | None:
    return window.first_step if window.training.name is None else window.training.since


def _claim(rule: Divergence, best: Point | None, points: int, of_phase: str) -> str:
    """``of_phase``: of which phase the best is, where there are any."""
    often = in_a_row(points)
    if best is None:
        return f"{rule.metric} never had a finite value{often}"
    return (
        f"{rule.metric} was above its best {number(best.value)}{of_phase} (step {best.step}) "
        f"by more than {number(rule.above_best_by)}{often}"
    )
