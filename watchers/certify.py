"""Which checkpoints are stable. Pure: evidence, later evaluations and alarms in, standings out.

A checkpoint is certified when its own evidence is in band and, after it, ``evaluations`` evaluations
in a row were healthy. An alarm takes back every certificate in its window, and a checkpoint in the
window of an alarm is never certified. Legal moves:

    complete -> certified | quarantined        certified -> revoked

Revoked and quarantined are final.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from specs.watch import Band, Certify
from watchers.verdict import number


class Standing(StrEnum):
    COMPLETE = "complete"
    CERTIFIED = "certified"
    REVOKED = "revoked"  # it was certified, then an alarm's window covered it
    QUARANTINED = (
        "quarantined"  # it never was and never will be: in an alarm's window, or not finite
    )


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint and its evidence.

    ``finite``: every tensor of its state is finite, as the trainer said; None where it said nothing.
    ``problem``: why the evidence could not be read.
    """

    step: int
    finite: bool | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One point of the certified metric; ``problem`` None: it is healthy."""

    step: int
    value: float
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class AlarmWindow:
    """What an alarm covers: all steps from ``onset`` to ``end``, both inclusive.

    ``end`` None: the alarm goes on. ``step`` and ``value`` are those of the point that raised it.
    """

    rule: str
    metric: str | None
    onset: int
    step: int
    value: float
    reason: str
    end: int | None = None

    def covers(self, step: int, *, now: int | float) -> bool:
        """Does ``step`` lie in the window, as far as it is known at step ``now``?"""
        return self.onset <= step <= (now if self.end is None else self.end)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A checkpoint and what is thought of it.

    ``flaw``: what is wrong with its evidence. ``healthy``: evaluations in a row after it that were
    healthy, so far; ``counted``: the step of the newest one counted; ``proof``: the one that
    completed them. ``alarm``: the one that took it back.
    """

    checkpoint: Checkpoint
    standing: Standing = Standing.COMPLETE
    flaw: str | None = None
    healthy: int = 0
    counted: int = -1
    unhealthy: Evaluation | None = None
    proof: Evaluation | None = None
    alarm: AlarmWindow | None = None

    @property
    def step(self) -> int:
        return self.checkpoint.step


def admit(
    certify: Certify, checkpoint: Checkpoint, standing: Standing = Standing.COMPLETE
) -> Judged:
    """A checkpoint that was just seen, judged by its evidence alone.

    ``standing`` is what an earlier watcher wrote down; it is kept, whatever the evidence says now.
    """
    flaw = flaw_of(certify, checkpoint)
    if standing is Standing.COMPLETE and checkpoint.finite is False:
        standing = Standing.QUARANTINED
    return Judged(checkpoint=checkpoint, standing=standing, flaw=flaw)


def observe(certify: Certify, judged: Judged, evaluation: Evaluation) -> Judged:
    """One more evaluation, in file order; one that goes back in steps starts the count again."""
    if judged.standing is not Standing.COMPLETE or evaluation.step <= judged.step:
        return judged
    before = judged.healthy if evaluation.step > judged.counted else 0
    if evaluation.problem is not None:
        return replace(judged, healthy=0, counted=evaluation.step, unhealthy=evaluation)
    counted = replace(judged, healthy=before + 1, counted=evaluation.step)
    if judged.flaw is not None or counted.healthy < certify.evaluations:
        return counted
    return replace(counted, standing=Standing.CERTIFIED, proof=evaluation)


def raise_alarm(judged: Judged, alarms: Iterable[AlarmWindow], *, now: int | float) -> Judged:
    """What is left of a checkpoint once the alarms are known whose windows have come to ``now``."""
    if judged.standing in (Standing.REVOKED, Standing.QUARANTINED):
        return judged
    for alarm in alarms:
        if alarm.covers(judged.step, now=now):
            was_certified = judged.standing is Standing.CERTIFIED
            fallen = Standing.REVOKED if was_certified else Standing.QUARANTINED
            return replace(judged, standing=fallen, alarm=alarm)
    return judged


def explain(certify: Certify, judged: Judged) -> str:
    """Why the checkpoint has its standing, or what it lacks to be certified."""
    match judged.standing:
        case Standing.REVOKED | Standing.QUARANTINED:
            return _fallen(judged)
        case Standing.CERTIFIED:
            return _proved(certify, judged)
        case Standing.COMPLETE:
            return _lacking(certify, judged)


def flaw_of(certify: Certify, checkpoint: Checkpoint) -> str | None:
    """What keeps the evidence from being in band; None if nothing does."""
    if checkpoint.problem is not None:
        return checkpoint.problem
    if checkpoint.finite is None:
        return "it has no evidence"
    if checkpoint.finite is False:
        return "its evidence says that the state is not finite"
    for metric, band in certify.bands.items():
        if metric not in checkpoint.metrics:
            return f"its evidence has no {metric}, which must be {bounds(band)}"
        if not in_band(band, checkpoint.metrics[metric]):
            value = number(checkpoint.metrics[metric])
            return f"{metric} is {value} in its evidence and must be {bounds(band)}"
    return None


def health(
    certify: Certify, *, value: float, banded: Mapping[str, float], alarming: Iterable[str]
) -> str | None:
    """Why an evaluation is not healthy; None if it is.

    ``banded``: the values, at its step, of the banded metrics that have one there; ``alarming``:
    the rules whose condition holds there.
    """
    if not math.isfinite(value):
        return f"{certify.metric} is {number(value)}"
    for metric, other in banded.items():
        if not in_band(certify.bands[metric], other):
            return f"{metric} is {number(other)} and must be {bounds(certify.bands[metric])}"
    for rule in alarming:
        return f"rule {rule} holds there"
    return None


def in_band(band: Band, value: float) -> bool:
    """Both bounds inclusive; a NaN is in no band, an infinity is in none either."""
    if not math.isfinite(value):
        return False
    above = band.above is None or value >= band.above
    return above and (band.below is None or value <= band.below)


def bounds(band: Band) -> str:
    parts = [f"at least {number(band.above)}"] if band.above is not None else []
    parts += [f"at most {number(band.below)}"] if band.below is not None else []
    return " and ".join(parts)


def _fallen(judged: Judged) -> str:
    if judged.alarm is None:
        return judged.flaw or "an earlier watcher took it out; watch.jsonl has the reason"
    verb = "taken back" if judged.standing is Standing.REVOKED else "never to be certified"
    alarm = judged.alarm
    return f"{verb}: rule {alarm.rule}, onset step {alarm.onset}: {alarm.reason}"


def _proved(certify: Certify, judged: Judged) -> str:
    count = certify.evaluations
    plural = "" if count == 1 else "s in a row"
    proof = judged.proof
    until = "" if proof is None else f", to {number(proof.value)} at step {proof.step}"
    return f"evidence in band, then {count} healthy evaluation{plural} of {certify.metric}{until}"


def _lacking(certify: Certify, judged: Judged) -> str:
    if judged.flaw is not None:
        return judged.flaw
    missing = certify.evaluations - judged.healthy
    plural = "" if missing == 1 else "s"
    last = judged.unhealthy
    spoilt = "" if last is None else f"; at step {last.step} {last.problem}"
    return f"needs {missing} more healthy evaluation{plural} after step {judged.step}{spoilt}"
