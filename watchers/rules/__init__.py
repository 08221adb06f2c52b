"""The judges: one for every rule model of specs/watch.py.

A judge is pure: ``judge(rule, window, moment) -> Verdict`` about the newest line of the window.
It asks for an action once per crossing, on the very point on which its condition has held for as
many points as the rule says; the condition must fail once before it can ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from specs.watch import (
    BAD_GRADIENTS,
    Divergence,
    GradientRule,
    NonFinite,
    Plateau,
    Rule,
    Silence,
    SpectrumRule,
    Threshold,
)
from watchers.rules import divergence, gradient, non_finite, plateau, silence, spectrum, threshold
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
    GradientRule: gradient.judge,
    Plateau: plateau.judge,
}


def judge(rule: Rule, window: Window, moment: Moment) -> Verdict:
    """What ``rule`` says of ``window``. Raises KeyError for a model without a judge."""
    verdict: Verdict = JUDGES[type(rule)](rule, window, moment)
    return verdict


def metrics_of(rule: Rule) -> frozenset[str]:
    """The metrics that a rule judges; none where it judges every metric, or no metric at all."""
    match rule:
        case GradientRule():
            return frozenset({rule.metric, BAD_GRADIENTS})
        case Threshold() | Divergence() | SpectrumRule() | Plateau():
            return frozenset({rule.metric})
        case NonFinite():
            return frozenset() if rule.metric is None else frozenset({rule.metric})
        case _:
            return frozenset()


__all__ = ["JUDGES", "Judge", "judge", "metrics_of"]
