"""``non_finite``: a metric, or any metric, is NaN or infinite."""

from __future__ import annotations

from specs.watch import NonFinite
from watchers.verdict import Moment, Phase, Verdict, as_json, fired, go_on, in_a_row, number
from watchers.window import Window


def judge(rule: NonFinite, window: Window, moment: Moment) -> Verdict:
    """Fires on the point that makes the first metric non-finite for ``for_points`` in a row.

    Without ``metric`` the alarm is one for all metrics: it ends when every metric's newest value is
    finite, and only then can it fire again. The onset is the newest step at which the metric was
    finite; if it never was, the attempt's first step.
    """
    del moment  # a value is finite or not at any time
    watched = window.unsound if rule.metric is None else window.unsound & {rule.metric}
    long = sorted(metric for metric in watched if window.latest[metric].bad >= rule.for_points)
    if not long:
        phase = Phase.SUSPECT if watched else Phase.CALM
        return go_on(rule, f"{len(watched)} metrics are not finite, none for long enough", phase)
    new = all(
        metric in window.touched and window.latest[metric].bad == rule.for_points for metric in long
    )
    if not new:
        return go_on(rule, f"{long[0]} is still not finite", Phase.ALARM)
    return _fire(rule, window, long)


def _fire(rule: NonFinite, window: Window, metrics: list[str]) -> Verdict:
    named = metrics[0]
    newest = window.latest[named]
    others = "" if len(metrics) == 1 else f", as were {len(metrics) - 1} other metrics"
    onsets = [window.latest[metric].finite_step for metric in metrics]
    known = [step for step in onsets if step is not None]
    return fired(
        rule,
        named,
        newest,
        f"{named} was {number(newest.value)} at step {newest.step}{in_a_row(rule.for_points)}{others}",
        onset=min(known) if len(known) == len(onsets) else window.first_step,
        evidence={
            "for_points": rule.for_points,
            "last_finite_step": newest.finite_step,
            "metrics": {metric: as_json(window.latest[metric].value) for metric in metrics[:20]},
        },
    )
