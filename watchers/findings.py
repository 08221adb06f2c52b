"""What the watcher states in watch.jsonl, before it has a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from specs.watch import Certify
from watchers.certify import Judged, Standing, explain
from watchers.verdict import Decision, Verdict, as_json


class Kind(StrEnum):
    ALERT = "alert"  # for people; nothing is ordered
    VERDICT = "verdict"  # an order follows
    CERTIFIED = "certified"
    REVOKED = "revoked"
    QUARANTINED = "quarantined"
    CLOSED = "closed"  # the trainer has left and every line is judged; nothing comes after it


CLOSED_KEY = "closed"
_STOPS = frozenset({Decision.KILL, Decision.ROLLBACK})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of watch.jsonl. ``key`` names it within its attempt: it is written once.

    ``more`` holds what only this kind has (of ``closed``: points, last_step).
    """

    kind: Kind
    key: str
    reason: str
    rule: str | None = None
    action: Decision | None = None
    metric: str | None = None
    step: int | None = None
    value: float | None = None
    onset: int | None = None
    end: int | None = None
    checkpoint_step: int | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Does it end the attempt?"""
        return self.kind is Kind.VERDICT and self.action in _STOPS

    def as_line(self, *, t: float, latency_s: float | None) -> dict[str, object]:
        """The line's content. ``latency_s``: from the metric line's own time to now."""
        return {
            "t": t,
            "kind": self.kind.value,
            "key": self.key,
            "rule": self.rule,
            "action": None if self.action is None else self.action.value,
            "metric": self.metric,
            "step": self.step,
            "value": None if self.value is None else as_json(self.value),
            "reason": self.reason,
            "onset": self.onset,
            "end": self.end,
            "checkpoint_step": self.checkpoint_step,
            "evidence": dict(self.evidence),
            "latency_s": latency_s,
            **self.more,
        }


def order_of(action: Decision) -> Literal["stop", "checkpoint"] | None:
    """What the killer is asked for."""
    if action in _STOPS:
        return "stop"
    return "checkpoint" if action is Decision.CHECKPOINT else None


def of_verdict(verdict: Verdict, *, stopped_by: str | None, point: str) -> Finding:
    """A verdict that asks for something. ``point`` makes its key unique within the rule.

    ``stopped_by``: the rule that has stopped the attempt already; a second stop is only an alert.
    """
    action, reason = verdict.action, verdict.reason
    if stopped_by is not None and action in _STOPS:
        reason = f"{reason}; nothing is ordered, rule {stopped_by} has already stopped this attempt"
        action = Decision.ALERT
    return Finding(
        kind=Kind.ALERT if action is Decision.ALERT else Kind.VERDICT,
        key=f"rule:{verdict.rule}:{point}",
        reason=reason,
        rule=verdict.rule,
        action=action,
        metric=verdict.metric,
        step=verdict.step,
        value=verdict.value,
        onset=verdict.onset,
        end=verdict.end,
        evidence=verdict.evidence,
    )


def of_standing(certify: Certify, judged: Judged) -> Finding:
    """The news that a checkpoint was certified, revoked or quarantined.

    ``step`` and ``value`` are those of the point that decided: of the evaluation that completed the
    proof, or of the one that raised the alarm.
    """
    metrics = {name: as_json(value) for name, value in judged.checkpoint.metrics.items()}
    alarm, proof = judged.alarm, judged.proof
    decided = alarm if judged.standing is not Standing.CERTIFIED else proof
    return Finding(
        kind=Kind(judged.standing.value),
        key=f"{judged.standing.value}:{judged.step}",
        reason=explain(certify, judged),
        rule=None if alarm is None else alarm.rule,
        metric=certify.metric if alarm is None else alarm.metric,
        step=None if decided is None else decided.step,
        value=None if decided is None else decided.value,
        onset=None if alarm is None else alarm.onset,
        end=None if alarm is None else alarm.step,
        checkpoint_step=judged.step,
        evidence={"finite": judged.checkpoint.finite, "metrics": metrics},
    )


def of_end(*, points: int, last_step: int | None) -> Finding:
    """The last line of all."""
    return Finding(
        kind=Kind.CLOSED,
        key=CLOSED_KEY,
        reason=f"the trainer has left; {points} metric points are judged",
        step=last_step,
        more={"points": points, "last_step": last_step},
    )


def of_trouble(what: str, reason: str) -> Finding:
    """An alert about the watching itself, or about the files it reads; its rule is `watcher`."""
    return Finding(
        kind=Kind.ALERT, key=f"trouble:{what}", reason=reason, rule="watcher", action=Decision.ALERT
    )
