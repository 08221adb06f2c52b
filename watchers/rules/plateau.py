"""``plateau``: a metric has not improved by so much for so many points."""

from __future__ import annotations

from specs.watch import Plateau
from watchers.verdict import (
    SHOWN,
    Moment,
    Verdict,
    alarm_if,
    ends_attempt,
    fired,
    go_on,
    listed,
    number,
)
from watchers.window import Point, Series, Window


def judge(rule: Plateau, window: Window, moment: Moment) -> Verdict:
    """Fires on the point with which the best value of the newest ``for_points`` points is lower than the
    best before them by less than ``by``. Values that are not finite are no best; where the training has
    phases, no value of an earlier one counts.

    To stand still is no instability: only a rule that kills speaks about health. Its alarm begins at the
    best value.
    """
    del moment  # a curve has no clock
    series, newest = window.of(rule.metric), len(window.of(rule.metric)) - 1
    since = window.since(rule.after_step)
    if not _stuck(rule, series, since, newest):
        return go_on(rule, f"it improved within {rule.for_points} points, or has fewer")
    if _stuck(rule, series, since, newest - 1) or rule.metric not in window.touched:
        return go_on(rule, "it still does not improve", alarm_if(ends_attempt(rule)))
    return _fire(rule, window, series)


def _stuck(rule: Plateau, series: Series, since: int, row: int) -> bool:
    earlier = row - rule.for_points
    if earlier < 0:
        return False
    before = series.best(since=since, row=earlier)
    now = series.best(since=since, row=row)
    return before is not None and now is not None and before.value - now.value < rule.by


def _fire(rule: Plateau, window: Window, series: Series) -> Verdict:
    best, newest = series.best(since=window.since(rule.after_step)), series[-1]
    assert best is not None  # a row without a best is not stuck
    row: list[Point] = [series[index] for index in range(-min(SHOWN, rule.for_points), 0)]
    return fired(
        rule,
        rule.metric,
        newest,
        f"{rule.metric} did not improve by {number(rule.by)} in {rule.for_points} points: its best"
        f"{window.training.said} is {number(best.value)} (step {best.step}), {number(newest.value)} "
        f"at step {newest.step}",
        onset=best.step,
        evidence={
            "by": rule.by,
            "for_points": rule.for_points,
            "best": best.value,
            "best_step": best.step,
            **window.training.facts,
            "points": listed(row),
        },
        alarm=ends_attempt(rule),
    )
