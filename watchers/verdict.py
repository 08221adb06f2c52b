"""What a rule says of a window, and the port through which an order leaves the watcher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from specs.watch import Action, Rule, rule_name
from watchers.window import Latest, Point

SHOWN = 20
"""So many points at most stand behind a verdict as evidence."""


class Decision(StrEnum):
    """What is to be done; all but CONTINUE are the actions of specs/watch.py."""

    CONTINUE = "continue"
    ALERT = "alert"
    CHECKPOINT = "checkpoint"
    KILL = "kill"
    ROLLBACK = "rollback"


class Phase(StrEnum):
    """What the newest point says about the health of the training.

    A rule that only states a fact (``threshold`` with ``alert``: a goal was reached) is always CALM.
    """

    CALM = "calm"
    SUSPECT = "suspect"  # the rule's condition holds, but for fewer points than it asks
    ALARM = "alarm"  # it holds for as many points, or for more


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One judgement of one rule.

    ``step`` and ``value`` are those of the point that was judged; ``onset`` and ``end`` bound the
    alarm window as far as it is known (both None where the verdict says nothing about health); a
    rollback goes to a checkpoint before the onset;
    ``evidence`` holds the numbers behind ``reason``, ready for JSON.
    """

    action: Decision
    rule: str
    reason: str
    phase: Phase = Phase.CALM
    metric: str | None = None
    step: int | None = None
    value: float | None = None
    onset: int | None = None
    end: int | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)


def go_on(rule: Rule, reason: str, phase: Phase = Phase.CALM) -> Verdict:
    """The verdict that nothing is to be done."""
    return Verdict(action=Decision.CONTINUE, rule=rule_name(rule), reason=reason, phase=phase)


def decision_of(rule: Rule) -> Decision:
    """What the rule orders when it fires."""
    return Decision(rule.action.value)


def ends_attempt(rule: Rule) -> bool:
    """Does the rule stop the attempt when it fires?"""
    return rule.action in (Action.KILL, Action.ROLLBACK)


def fired(
    rule: Rule,
    metric: str,
    newest: Point | Latest,
    reason: str,
    *,
    onset: int | None,
    evidence: Mapping[str, object],
    alarm: bool = True,
) -> Verdict:
    """The verdict of a rule on the point with which its condition has held for long enough.

    ``alarm``: it speaks about the health of the training, from ``onset`` to that point.
    """
    return Verdict(
        action=decision_of(rule),
        rule=rule_name(rule),
        reason=reason,
        phase=alarm_if(alarm),
        metric=metric,
        step=newest.step,
        value=newest.value,
        onset=onset if alarm else None,
        end=newest.step if alarm else None,
        evidence=evidence,
    )


def alarm_if(alarm: bool) -> Phase:
    """The phase of a rule whose condition holds: CALM where it says nothing about health."""
    return Phase.ALARM if alarm else Phase.CALM


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a judge looks, in seconds of one clock that never jumps (not the wall clock).

    ``started``: when the trainer was first seen alive, or the watch began; ``heard``: when its
    newest metric line was read, None before the first. ``running``: is the trainer's process known
    to be alive (True), known to be dead (False), or is it not known (None)?
    """

    now: float
    started: float | None = None
    heard: float | None = None
    running: bool | None = None


class Killer(Protocol):
    """Gives an order to whoever owns the trainer; the same ``key`` twice is one order."""

    def __call__(
        self,
        directory: Path,
        *,
        key: str,
        action: Literal["stop", "checkpoint"],
        reason: str,
        rule: str,
        grace: float | None,
        evidence: Mapping[str, object],
    ) -> None:
        """Returns once the order is durable. ``grace`` None: as the attempt's limits say."""
        ...


def in_a_row(points: int) -> str:
    """``" for 3 points in a row"``; nothing for one."""
    return "" if points == 1 else f" for {points} points in a row"


def listed(points: Sequence[Point]) -> list[list[object]]:
    """The newest points for JSON: step and value."""
    return [[point.step, as_json(point.value)] for point in points[-SHOWN:]]


def number(value: float) -> str:
    """A number for a sentence: six digits, NaN and Infinity spelled as in metric lines."""
    return f"{value:.6g}" if math.isfinite(value) else str(as_json(value))


def as_json(value: float) -> float | str:
    """A number for JSON; NaN and infinities become the strings of metric lines."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
