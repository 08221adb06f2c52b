"""The judges: one for every rule model of specs/watch.py.

A judge is pure: ``judge(rule, window, moment) -> Verdict`` about the newest line of the window.
It asks for an action once per crossing, on the very point on which its condition has held for as
many points as the rule says; the condition must fail once before it can ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from specs.watch import Divergence, NonFinite, Rule, Silence, SpectrumRule, Threshold
from watchers.rules import divergence, non_finite, silence, spectrum, threshold
from watchers.verdict import Moment, Verdict
from watchers.window import Window

Judge = Callable[[Any, Window, Moment], Verdict]
"""A judge takes its own model only; the table pairs them, hence Any."""

JUDGES: Mapping[type[Rule], Judge] = {
    Threshold: threshold.judge,
    NonFinite: non_finite.judge,
    Divergence: divergence.judge,
    Silence: silence.judge,
    SpectrumRule: spectrum.judge,
}


def judge(rule: Rule, window: Window, moment: Moment) -> Verdict:
    """What ``rule`` says of ``window``. Raises KeyError for a model without a judge."""
    verdict: Verdict = JUDGES[type(rule)](rule, window, moment)
    return verdict


def metric_of(rule: Rule) -> str | None:
    """The one metric that a rule judges; None for every metric, or none."""
    match rule:
        case Threshold() | Divergence() | NonFinite() | SpectrumRule():
            return rule.metric
        case _:
            return None


__all__ = ["JUDGES", "Judge", "judge", "metric_of"]
