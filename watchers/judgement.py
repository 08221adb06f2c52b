"""The judgement of one attempt, as a fold over what is read of it. Pure: no clock, no files.

The same lines give the same findings however they are cut into reads, and whenever checkpoints that
were there in time are noticed. So a watcher that starts again reads everything from the start, and
what it finds anew is recognised by its key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from specs.files import MetricLine
from specs.watch import Certify, Rule, Silence, rule_name
from watchers.certify import (
    AlarmWindow,
    Checkpoint,
    Evaluation,
    Judged,
    Standing,
    admit,
    explain,
    health,
    observe,
    raise_alarm,
)
from watchers.findings import Finding, Kind, of_end, of_standing, of_verdict
from watchers.rules import judge, metrics_of
from watchers.unheard import Unheard, at_end, expect, hear
from watchers.unproved import MANY_CHECKPOINTS, missing_evidence, readable
from watchers.verdict import Decision, Moment, Phase, Verdict
from watchers.window import Window

_TIMELESS = Moment(now=0.0)
_LATE = 64


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All that is known of an attempt.

    ``phases``: of every rule about curves, by name; ``alarms``: all so far, those that go on have no
    end. ``pending``: step of an evaluation whose step may still get lines; ``evaluations``: the
    newest ones that are settled. ``stopped_by``: the rule whose verdict ended the attempt.
    ``unheard``: the rules, and the certificate, whose metric no line has brought.
    """

    rules: tuple[Rule, ...]
    certify: Certify
    window: Window
    phases: Mapping[str, Phase] = field(default_factory=dict)
    alarms: tuple[AlarmWindow, ...] = ()
    pending: int | None = None
    evaluations: tuple[Evaluation, ...] = ()
    checkpoints: Mapping[int, Judged] = field(default_factory=dict)
    stopped_by: str | None = None
    unheard: Unheard = field(default_factory=Unheard)

    def explain(self, step: int) -> str:
        """Why the checkpoint of ``step`` has its standing, or what it lacks to be certified."""
        if step not in self.checkpoints:
            return f"there is no complete checkpoint of step {step}"
        return explain(self.certify, self.checkpoints[step])


Step = tuple[Judgement, list[Finding]]


def begin(
    rules: tuple[Rule, ...],
    certify: Certify,
    *,
    recorded: Mapping[int, Standing] | None = None,
    stopped_by: str | None = None,
    impatient: bool = False,
) -> Judgement:
    """Before the first line. ``recorded``, ``stopped_by``: what an earlier watcher wrote down.

    ``impatient``: the trainer declares no metrics, so a rule is missed before the attempt ends.
    """
    judged = {metric for rule in rules for metric in metrics_of(rule)}
    gone = {
        step: admit(certify, Checkpoint(step=step, problem="its directory is gone"), standing)
        for step, standing in (recorded or {}).items()
    }
    return Judgement(
        rules=rules,
        certify=certify,
        window=Window(keep=frozenset(judged | {certify.metric} | set(certify.bands))),
        checkpoints=gone,
        stopped_by=stopped_by,
        unheard=expect(rules, certify, impatient=impatient),
    )


def take_line(judgement: Judgement, line: MetricLine) -> Step:
    """One more metric line."""
    findings: list[Finding] = []
    if judgement.pending is not None and judgement.pending != line.step:
        judgement, findings = _settle(judgement)
    window = judgement.window.append(line)
    unheard, found = hear(judgement.unheard, line, window)
    findings += found
    judgement = replace(judgement, window=window, unheard=unheard)
    if not judgement.window.touched:
        return judgement, findings
    open_before = {alarm.rule for alarm in judgement.alarms if alarm.end is None}
    for rule in judgement.rules:
        if _concerns(rule, judgement.window):
            judgement, found = _hear(judgement, rule)
            findings += found
    if open_before or any(alarm.end is None for alarm in judgement.alarms):
        judgement, found = _spread(judgement, now=line.step)
        findings += found
    if judgement.certify.metric in judgement.window.touched:
        judgement = replace(judgement, pending=line.step)
    return judgement, findings


def take_checkpoints(judgement: Judgement, seen: Iterable[Checkpoint]) -> Step:
    """Checkpoints that were just noticed; those already known by their evidence are passed over."""
    certify, news = judgement.certify, {}
    findings: list[Finding] = []
    now = -1 if judgement.window.step is None else judgement.window.step
    for checkpoint in seen:
        known = judgement.checkpoints.get(checkpoint.step)
        before = Standing.COMPLETE if known is None else known.standing
        judged = raise_alarm(admit(certify, checkpoint, before), judgement.alarms, now=now)
        for evaluation in judgement.evaluations:
            judged = observe(certify, judged, evaluation)
        news[checkpoint.step] = judged
        if judged.standing is not before:
            findings.append(of_standing(certify, judged))
    after = replace(judgement, checkpoints={**judgement.checkpoints, **news})
    if judgement.unheard.impatient and len(_proofs(judgement)) < MANY_CHECKPOINTS:
        findings += _unproved(after, fewest=MANY_CHECKPOINTS)
    return after, findings


def take_silence(judgement: Judgement, moment: Moment) -> Step:
    """A look at the clock, while no line comes."""
    findings: list[Finding] = []
    for rule in judgement.rules:
        if isinstance(rule, Silence):
            verdict = judge(rule, judgement.window, moment)
            if verdict.action is not Decision.CONTINUE:
                point = f"line {judgement.window.lines}:{verdict.action}"
                judgement, found = _order(judgement, verdict, point)
                findings.append(found)
    return judgement, findings


def finish(judgement: Judgement, *, succeeded: bool = False) -> Step:
    """The trainer has left and every line is taken: alarms that go on have no end.

    ``succeeded``: it left by itself, as it should; otherwise a rule may have had no time to hear.
    """
    judgement, findings = _settle(judgement)
    judgement, found = _spread(judgement, now=math.inf)
    window = judgement.window
    missing = at_end(judgement.unheard, window, succeeded=succeeded)
    missing += _unproved(judgement, fewest=1 if succeeded else MANY_CHECKPOINTS)
    end = of_end(points=window.points, last_step=window.step)
    return judgement, [*findings, *found, *missing, end]


def _proofs(judgement: Judgement) -> list[Checkpoint]:
    return readable(judged.checkpoint for judged in judgement.checkpoints.values())


def _unproved(judgement: Judgement, *, fewest: int) -> list[Finding]:
    """Alerts on bands, once there are so many checkpoints with evidence that could have kept them."""
    proofs = _proofs(judgement)
    return missing_evidence(judgement.certify, proofs) if len(proofs) >= fewest else []


def _concerns(rule: Rule, window: Window) -> bool:
    if isinstance(rule, Silence):
        return False
    metrics = metrics_of(rule)
    return not metrics or not metrics.isdisjoint(window.touched)


def _hear(judgement: Judgement, rule: Rule) -> Step:
    """Judge the newest line by one rule; keep its phase and its alarm."""
    verdict = judge(rule, judgement.window, _TIMELESS)
    name = rule_name(rule)
    phases, alarms = judgement.phases, _alarms(judgement, name, verdict)
    if phases.get(name) is not verdict.phase:
        phases = {**phases, name: verdict.phase}
    if phases is not judgement.phases or alarms is not judgement.alarms:
        judgement = replace(judgement, phases=phases, alarms=alarms)
    if verdict.action is Decision.CONTINUE:
        return judgement, []
    judgement, finding = _order(judgement, verdict, f"{verdict.metric}:{verdict.step}")
    return judgement, [finding]


def _order(judgement: Judgement, verdict: Verdict, point: str) -> tuple[Judgement, Finding]:
    finding = of_verdict(verdict, stopped_by=judgement.stopped_by, point=point)
    if finding.stops:
        judgement = replace(judgement, stopped_by=verdict.rule)
    return judgement, finding


def _alarms(judgement: Judgement, name: str, verdict: Verdict) -> tuple[AlarmWindow, ...]:
    """The alarms after a verdict: one begins, goes on, or ends at the step of the newest line."""
    alarms, step = judgement.alarms, judgement.window.step
    is_open = any(alarm.rule == name and alarm.end is None for alarm in alarms)
    if verdict.phase is not Phase.ALARM:
        if not is_open:
            return alarms
        return tuple(
            replace(alarm, end=step) if alarm.rule == name and alarm.end is None else alarm
            for alarm in alarms
        )
    if is_open or verdict.onset is None or verdict.step is None or verdict.value is None:
        return alarms
    begun = AlarmWindow(
        rule=name,
        metric=verdict.metric,
        onset=verdict.onset,
        step=verdict.step,
        value=verdict.value,
        reason=verdict.reason,
    )
    return (*alarms, begun)


def _spread(judgement: Judgement, *, now: int | float) -> Step:
    """Let the alarms take what lies in their windows, as far as these have come."""
    news, findings = {}, []
    for step, judged in judgement.checkpoints.items():
        fallen = raise_alarm(judged, judgement.alarms, now=now)
        if fallen is not judged:
            news[step] = fallen
            findings.append(of_standing(judgement.certify, fallen))
    if not news:
        return judgement, []
    return replace(judgement, checkpoints={**judgement.checkpoints, **news}), findings


def _settle(judgement: Judgement) -> Step:
    """The pending evaluation's step is complete: no line of it will come any more."""
    certify, window, step = judgement.certify, judgement.window, judgement.pending
    point = None if step is None else window.of(certify.metric).at(step)
    if point is None:
        return replace(judgement, pending=None), []
    problem = health(
        certify,
        value=point.value,
        banded=window.values_at(point.step, certify.bands),
        alarming=[name for name, phase in judgement.phases.items() if phase is not Phase.CALM],
    )
    evaluation = Evaluation(step=point.step, value=point.value, problem=problem)
    checkpoints, findings = dict(judgement.checkpoints), []
    for at, judged in judgement.checkpoints.items():
        checkpoints[at] = observe(certify, judged, evaluation)
        if checkpoints[at].standing is not judged.standing:
            findings.append(of_standing(certify, checkpoints[at]))
    evaluations = (*judgement.evaluations, evaluation)[-(certify.evaluations + _LATE) :]
    judgement = replace(judgement, pending=None, checkpoints=checkpoints, evaluations=evaluations)
    return judgement, findings


def standings(lines: Iterable[Mapping[str, object]]) -> dict[int, Standing]:
    """The standing of each checkpoint, by the lines that an earlier watcher wrote."""
    found: dict[int, Standing] = {}
    for line in lines:
        step, kind = line.get("checkpoint_step"), line.get("kind")
        if isinstance(step, int) and kind in (Kind.CERTIFIED, Kind.REVOKED, Kind.QUARANTINED):
            found[step] = Standing(str(kind))
    return found
