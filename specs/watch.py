"""What is watched: one model per rule, and what a checkpoint must show to be certified.

watchers/rules/ holds one judge for every model of this file (a test pairs them).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from specs.base import Duration, Model, Name, Number
from specs.errors import UnknownWord, WrongField

FEWEST_FOR_A_LINE = 3
USUAL_SPECTRUM = "spectrum/max_re_mu"
USUAL_RATIO = "grad/block_ratio"
BAD_GRADIENTS = "grad/non_finite"


class Action(StrEnum):
    """What a verdict leads to."""

    ALERT = "alert"
    CHECKPOINT = "checkpoint"  # save now and go on
    KILL = "kill"
    ROLLBACK = "rollback"  # kill, then a new attempt from the newest certified checkpoint


def _action(value: object) -> object:
    if isinstance(value, str):
        try:
            return Action(value)
        except ValueError:
            raise UnknownWord(value, Action) from None
    return value


class Rule(Model):
    """What every rule has. ``set`` and ``tries`` belong to ``action: rollback``."""

    name: Name | None = Field(default=None, description="the rule's kind and metric if absent")
    action: Annotated[Action, BeforeValidator(_action)] = Action.ALERT
    set: Mapping[str, Any] = Field(
        default_factory=dict,
        description="changes that the attempt after the rollback gets: dotted path to value",
    )
    tries: int = Field(default=1, ge=1, le=100, description="rollbacks before the run is given up")

    @model_validator(mode="after")
    def _set_needs_a_rollback(self) -> Rule:
        if self.action is not Action.ROLLBACK:
            if self.set:
                raise WrongField("set", "`set` belongs to action: rollback")
            if self.tries != 1:
                raise WrongField("tries", "`tries` belongs to action: rollback")
        return self


class Threshold(Rule):
    """A metric lies above or below a bound for ``for_points`` points in a row."""

    rule: Literal["threshold"]
    metric: str = Field(min_length=1)
    above: Number | None = None
    below: Number | None = None
    for_points: int = Field(default=1, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _one_side(self) -> Threshold:
        if (self.above is None) == (self.below is None):
            raise WrongField(("above", "below"), "give one of `above` and `below`")
        return self


class NonFinite(Rule):
    """A metric (or, without ``metric``, any metric) is NaN or infinite."""

    rule: Literal["non_finite"]
    metric: str | None = Field(default=None, min_length=1)
    for_points: int = Field(default=1, ge=1, le=1_000_000)


class Divergence(Rule):
    """A metric stays above its best value so far by a margin: its own onset is that best value."""

    rule: Literal["divergence"]
    metric: str = Field(min_length=1)
    above_best_by: Number = Field(gt=0)
    for_points: int = Field(default=2, ge=1, le=1_000_000)
    after_step: int = Field(default=0, ge=0, description="earlier points are not judged")


class Silence(Rule):
    """No metric line for a while from a trainer that runs."""

    rule: Literal["silence"]
    for_seconds: Duration = 600.0


class SpectrumRule(Rule):
    """The largest real part of the spectrum lies above a bound, or is about to.

    Without ``within_steps`` for ``for_points`` points in a row. With it, where the least-squares line
    through the newest ``for_points`` points comes above the bound within so many more steps; it is
    extended by no more than its own length.
    """

    rule: Literal["spectrum"]
    metric: str = Field(default=USUAL_SPECTRUM, min_length=1)
    above: Number = 0.0
    within_steps: int | None = Field(default=None, ge=1, le=1_000_000_000)
    for_points: int | None = Field(
        default=None, ge=1, le=10_000, description="1; with within_steps 10, those of the line"
    )
    after_step: int = Field(default=0, ge=0, description="earlier points are not judged")

    @property
    def points(self) -> int:
        """``for_points``, or what stands for it."""
        if self.for_points is not None:
            return self.for_points
        return 1 if self.within_steps is None else 10

    @model_validator(mode="after")
    def _a_line_needs_points(self) -> SpectrumRule:
        if self.within_steps is not None and self.points < FEWEST_FOR_A_LINE:
            raise WrongField(
                "for_points",
                f"with within_steps a line is drawn through the points and its error judged: "
                f"for_points must be at least {FEWEST_FOR_A_LINE}",
            )
        return self


class GradientRule(Rule):
    """A block amplifies its gradient by more than a bound, or tensors of the gradient are no numbers.

    ``metric`` is the ratio; ``grad/non_finite``, the count, is looked at beside it.
    """

    rule: Literal["gradient"]
    metric: str = Field(default=USUAL_RATIO, min_length=1)
    ratio_above: Number = Field(default=100.0, gt=0)
    for_points: int = Field(default=1, ge=1, le=1_000_000)


class Plateau(Rule):
    """In the newest ``for_points`` points the best value of a metric became lower by less than ``by``."""

    rule: Literal["plateau"]
    metric: str = Field(min_length=1)
    by: Number = Field(gt=0)
    for_points: int = Field(ge=1, le=1_000_000)
    after_step: int = Field(default=0, ge=0, description="earlier points are not judged")


AnyRule = Annotated[
    Threshold | NonFinite | Divergence | Silence | SpectrumRule | GradientRule | Plateau,
    Field(discriminator="rule"),
]


class Band(Model):
    """Bounds, both optional, both inclusive."""

    above: Number | None = None
    below: Number | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Band:
        if self.above is None and self.below is None:
            raise ValueError("give `above`, `below` or both")
        if self.above is not None and self.below is not None and self.above > self.below:
            raise WrongField(
                ("above", "below"), f"above ({self.above:g}) is greater than below ({self.below:g})"
            )
        return self


class Certify(Model):
    """When a checkpoint is stable: its evidence in band, and healthy evaluations after it.

    An evaluation is a point of ``metric`` at a later step; it is healthy when it is finite, every
    banded metric that has a value at that step is in band, and no rule alarms there.
    """

    metric: str = Field(default="val/ce", min_length=1)
    evaluations: int = Field(default=2, ge=1, le=1000)
    bands: Mapping[str, Band] = Field(default_factory=dict)


def rule_name(rule: Rule) -> str:
    """The name that a rule goes by: its own, else its kind and metric."""
    if rule.name is not None:
        return rule.name
    kind: str = getattr(rule, "rule")  # noqa: B009 - declared by every leaf, not by the base
    metric: str | None = getattr(rule, "metric", None)
    return derived_name(kind, metric)


def derived_name(kind: str, metric: str | None) -> str:
    """The name of a rule that was given none: ``divergence.val.ce``.

    The metric that its kind takes by default is not named, be it written or not.
    """
    if metric is None or _USUAL.get(kind) == metric:
        return kind
    return f"{kind}.{metric.replace('/', '.').lower()}"


_USUAL = {"spectrum": USUAL_SPECTRUM, "gradient": USUAL_RATIO}
