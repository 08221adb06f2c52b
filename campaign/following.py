"""A campaign as a story: what happened between two looks at it, one line each. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from campaign.errors import ExitCode
from campaign.rows import NOT_TAKEN, AlertRow, AttemptRow, RunRow

EVALUATION_EVERY = 15.0
"""Seconds between two lines about the evaluations of one run."""

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CODES: Mapping[str, ExitCode] = {
    "failed": ExitCode.RUN_FAILED,
    "lost": ExitCode.RUN_FAILED,
    "killed": ExitCode.RUN_KILLED,
    "cancelled": ExitCode.RUN_CANCELLED,
}
_NEVER_STARTED = 13


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A campaign at one moment."""

    runs: tuple[RunRow, ...] = ()
    attempts: tuple[AttemptRow, ...] = ()
    alerts: tuple[AlertRow, ...] = ()

    @property
    def done(self) -> bool:
        return all(run.status == "done" for run in self.runs)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that happened. ``tone``: good, bad, notice or plain."""

    run: str
    text: str
    tone: str = "plain"

    def __str__(self) -> str:
        return f"{self.run}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class Story:
    """What was told so far; ``told``: run -> when its evaluations were last told of."""

    last: Snapshot | None = None
    told: Mapping[str, float] = field(default_factory=dict)

    def go_on(self, now: Snapshot, at: float) -> tuple[Story, list[Line]]:
        """The story after one more look (unix seconds), and its new lines."""
        if self.last is None:
            return Story(last=now, told={run.run: at for run in now.runs}), _opening(now)
        lines = [*_changes(self.last, now)]
        told = dict(self.told)
        before = {run.run: run for run in self.last.runs}
        for run in now.runs:
            due = at - told.get(run.run, 0.0) >= EVALUATION_EVERY
            if due and (line := _evaluated(before.get(run.run), run)) is not None:
                lines.append(line)
                told[run.run] = at
        return replace(self, last=now, told=told), lines


def exit_code(runs: Iterable[RunRow]) -> ExitCode:
    """0 if every run succeeded, else by the first one, in the order of submission, that did not."""
    for run in runs:
        if run.result not in (None, "succeeded"):
            refused = run.failure_class == "could_not_start" and run.exit_code == _NEVER_STARTED
            return ExitCode.NO_CHECKPOINT if refused else _CODES[run.result]
    return ExitCode.OK


def shown(value: float | str | None) -> str:
    """A metric for a table: four significant digits."""
    return "" if value is None else value if isinstance(value, str) else f"{value:.4g}"


# ---------------------------------------------------------------- the lines


def _opening(now: Snapshot) -> list[Line]:
    lines = []
    for run in now.runs:
        if run.status == "active":
            where = "" if run.step is None else f" at step {run.step}"
            lines.append(Line(run=run.run, text=f"runs: attempt {run.attempt}{where}"))
        elif waits := _waits(run):
            lines.append(Line(run=run.run, text=waits))
    return lines


def _changes(before: Snapshot, now: Snapshot) -> Iterator[Line]:
    """Alerts first: they are why attempts end; then the ends, then the new starts."""
    seen = {alert.id for alert in before.alerts}
    yield from (_alerted(alert) for alert in now.alerts if alert.id not in seen)
    runs = {run.run: run for run in now.runs}
    old_attempts = {(a.run, a.number): a for a in before.attempts}
    for attempt in now.attempts:
        old = old_attempts.get((attempt.run, attempt.number))
        yield from _attempt_changed(old, attempt, runs[attempt.run], now.attempts)
    old_runs = {run.run: run for run in before.runs}
    for run in now.runs:
        yield from _run_changed(old_runs.get(run.run), run, now.alerts)


def _alerted(alert: AlertRow) -> Line:
    at = "" if alert.step is None else f" at step {alert.step}"
    name = alert.run or alert.campaign
    match alert.action:
        case "kill" | "rollback":
            return Line(
                run=name, text=f"killed by rule {alert.rule}{at}: {alert.reason}", tone="bad"
            )
        case "checkpoint":
            text = f"checkpoint ordered by rule {alert.rule}{at}: {alert.reason}"
            return Line(run=name, text=text, tone="notice")
    return Line(run=name, text=f"alert {alert.rule}{at}: {alert.reason}", tone="notice")


def _attempt_changed(
    old: AttemptRow | None, attempt: AttemptRow, run: RunRow, all_of: Sequence[AttemptRow]
) -> Iterator[Line]:
    if old is None:
        yield Line(run=run.run, text=_started(attempt, run, all_of))
    ended = attempt.status == "done" and (old is None or old.status != "done")
    told = attempt.result in ("succeeded", "killed")  # by the run's end, by the rule's verdict
    if ended and not told and run.status != "done":
        yield Line(run=run.run, text=f"attempt {attempt.number} ended: {_how(attempt)}", tone="bad")


def _started(attempt: AttemptRow, run: RunRow, all_of: Sequence[AttemptRow]) -> str:
    start, devices = attempt.start, ", ".join(attempt.devices)
    here = f"attempt {attempt.number} starts on {devices}"
    match start["kind"]:
        case "scratch":
            return f"{here} from scratch"
        case "warm":
            return f"{here}, warm from step {start['step']} of {start['run']}"
    parent = next((a for a in all_of if (a.run, a.number) == (run.run, attempt.parent)), None)
    if parent is not None and (parent.verdict or {}).get("action") == "rollback":
        changes = ", ".join(f"{path}={value}" for path, value in run.changes.items())
        note = f" with {changes}" if changes else ""
        return f"rolled back to step {start['step']}{note}; {here}"
    return f"{here} from step {start['step']} of attempt {start['attempt']}"


def _how(attempt: AttemptRow) -> str:
    kind = f" ({attempt.failure_class})" if attempt.failure_class else ""
    return f"{attempt.result}{kind}: {attempt.reason}"


def _run_changed(old: RunRow | None, run: RunRow, alerts: Sequence[AlertRow]) -> Iterator[Line]:
    if run.status == "done" and (old is None or old.status != "done"):
        told = any(alert.run == run.run and alert.reason == run.reason for alert in alerts)
        yield _finished(run, "" if told else f": {run.reason}")
    waits = _waits(run)
    if waits and _NUMBER.sub("", waits) != _NUMBER.sub("", "" if old is None else _waits(old)):
        yield Line(run=run.run, text=waits)


def _finished(run: RunRow, why: str) -> Line:
    cell = run.metrics.get(run.metric)
    number = "" if cell is None else f"; {run.metric} {shown(cell['latest'])}"
    best = "" if cell is None or cell["best"] is None else f", {_best(run)} {shown(cell['best'])}"
    at = "" if run.step is None else f" at step {run.step}"
    if run.result == "succeeded":
        return Line(run=run.run, text=f"succeeded{at}{number}{best}", tone="good")
    kind = f" ({run.failure_class})" if run.failure_class else ""
    return Line(run=run.run, text=f"{run.result}{kind}{at}{why}", tone="bad")


def _best(run: RunRow) -> str:
    """What the lowest value is called: of the present phase, where the training has any."""
    return "best" if run.phase is None else f"best of {run.phase}"


def _waits(run: RunRow) -> str:
    """Why a queued run waits, where there is more to say than that it is queued."""
    plain = ("queued", NOT_TAKEN)
    return run.reason if run.status == "queued" and run.reason not in plain else ""


def _evaluated(old: RunRow | None, run: RunRow) -> Line | None:
    cell = run.metrics.get(run.metric)
    before = None if old is None else old.metrics.get(run.metric)
    if cell is None or run.status != "active":
        return None
    if before is not None and before["latest_step"] == cell["latest_step"]:
        return None
    of = "" if run.steps is None else f" of {run.steps}"
    best = "" if cell["best"] is None else f" ({_best(run)} {shown(cell['best'])})"
    return Line(
        run=run.run,
        text=f"step {cell['latest_step']}{of}, {run.metric} {shown(cell['latest'])}{best}",
    )
