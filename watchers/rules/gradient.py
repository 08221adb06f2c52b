"""``gradient``: a block amplifies its gradient by more than a bound, or tensors of it are no numbers."""

from __future__ import annotations

from specs.watch import BAD_GRADIENTS, GradientRule
from watchers.verdict import Moment, Phase, Verdict, as_json, fired, go_on, in_a_row, listed, number
from watchers.window import Point, Series, Window


def judge(rule: GradientRule, window: Window, moment: Moment) -> Verdict:
    """Fires on the point that completes ``for_points`` in a row.

    A point is a value of the ratio, with the count of its step where there is one. A ratio that is no
    finite number is above every bound: it comes from a gradient that is none. The alarm begins at the
    last point that was well.
    """
    del moment  # a curve has no clock
    ratios, counts = window.of(rule.metric), window.of(BAD_GRADIENTS)
    row = ratios.streak(
        lambda index: _is_bad(rule, ratios[index], counts), most=rule.for_points + 1
    )
    if row < rule.for_points:
        phase = Phase.SUSPECT if row else Phase.CALM
        return go_on(rule, f"{row} of {rule.for_points} points in a row", phase)
    if row > rule.for_points or rule.metric not in window.touched:
        return go_on(rule, "the gradient is still beyond its bound", Phase.ALARM)
    return _fire(rule, window, [ratios[index - row] for index in range(row)])


def _is_bad(rule: GradientRule, ratio: Point, counts: Series) -> bool:
    within = ratio.value <= rule.ratio_above  # a NaN is not
    return not (within and _bad_tensors(counts, ratio.step) <= 0)


def _bad_tensors(counts: Series, step: int) -> float:
    point = counts.at(step)
    return 0.0 if point is None else point.value


def _fire(rule: GradientRule, window: Window, row: list[Point]) -> Verdict:
    ratios, newest = window.of(rule.metric), row[-1]
    before = len(ratios) - len(row) - 1
    bad = _bad_tensors(window.of(BAD_GRADIENTS), newest.step)
    tensors = "" if bad == 0 else f", {number(bad)} tensors of it are not finite"
    return fired(
        rule,
        rule.metric,
        newest,
        f"the gradient was beyond its bound{in_a_row(len(row))}: {rule.metric} "
        f"{number(newest.value)} (bound {number(rule.ratio_above)}) at step {newest.step}{tensors}",
        onset=window.first_step if before < 0 else ratios[before].step,
        evidence={
            "ratio_above": rule.ratio_above,
            "for_points": rule.for_points,
            "non_finite_tensors": as_json(bad),
            "points": listed(row),
        },
    )
