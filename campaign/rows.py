"""What the reading verbs show, one record a row. Names are those of the JSON output (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

from campaign.pace import Eta, Leg, MetricCell, eta_of, merged_metrics


@dataclass(frozen=True, kw_only=True)
class CampaignRow:
    """``waiting``: no controller has taken it yet."""

    name: str
    profile: str | None
    submitted_at: float
    git_commit: str | None
    git_dirty: bool
    waiting: bool


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """``attempt``: how many there were. ``metric``: the one to look at first.

    ``reason``: why it waits, what stops it, or why it ended. ``changes``: what rollbacks have set.
    """

    campaign: str
    run: str
    status: str
    result: str | None
    failure_class: str | None
    rule: str | None
    attempt: int
    step: int | None
    steps: int | None
    metric: str
    metrics: Mapping[str, MetricCell]
    device: str | None
    reason: str
    eta: Eta | None
    exit_code: int | None
    changes: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.campaign}/{self.run}"


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """One process life of a run. Times in unix seconds."""

    campaign: str
    run: str
    number: int
    status: str
    result: str | None
    failure_class: str | None
    rule: str | None
    reason: str
    exit_code: int | None
    host: str
    devices: tuple[str, ...]
    start: Mapping[str, Any]
    parent: int | None
    created_at: float
    running_since: float | None
    ended_at: float | None
    verdict: Mapping[str, Any] | None
    identity: Mapping[str, Any] | None
    directory: str
    leased: bool
    progress: Mapping[str, Any]

    @property
    def first_step(self) -> int:
        """The step after which it began."""
        return int(self.start.get("step") or 0) if self.start.get("kind") == "resume" else 0

    @property
    def step(self) -> int | None:
        step: int | None = self.progress.get("step")
        return step


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """``reason``: why it has its status, or what it lacks to be certified."""

    campaign: str
    run: str
    attempt: int
    step: int
    status: str
    reason: str
    path: str
    host: str
    completed_at: float
    evidence: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class AlertRow:
    """``action``: alert, checkpoint, kill or rollback."""

    id: int
    campaign: str
    run: str
    attempt: int
    at: float
    rule: str
    action: str
    reason: str
    step: int | None
    metric: str | None
    value: float | str | None


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """One line of the controller's event log."""

    id: int
    at: float
    kind: str
    note: str


def as_json(row: object) -> object:
    """What ``json.dumps(..., default=as_json)`` makes of a row: all its fields under their names."""
    if is_dataclass(row):
        return vars(row)
    raise TypeError(f"{type(row).__name__} is no row")


# ---------------------------------------------------------------- from the store's JSON


def attempt_row(
    campaign: str,
    run: str,
    number: int,
    status: str,
    fields: Sequence[Any],
    progress: Mapping[str, Any],
) -> AttemptRow:
    """``fields``: status, host, devices, start, parent, created_at, verdict, identity, directory,
    leased of the record."""
    now, host, devices, start, parent, created, verdict, identity, directory, leased = fields
    ending = now.get("ending") or {}
    return AttemptRow(
        campaign=campaign,
        run=run,
        number=number,
        status=status,
        result=ending.get("result"),
        failure_class=ending.get("failure_class"),
        rule=ending.get("rule"),
        reason=ending.get("reason") or now.get("reason") or "",
        exit_code=ending.get("exit_code"),
        host=host,
        devices=tuple(devices),
        start=start,
        parent=parent,
        created_at=created,
        running_since=now.get("since") if status == "running" else None,
        ended_at=now.get("at"),
        verdict=verdict,
        identity=identity,
        directory=directory,
        leased=bool(leased),
        progress=progress,
    )


def run_row(
    campaign: str, run: str, fields: Sequence[Any], attempts: Sequence[AttemptRow]
) -> RunRow:
    """``fields``: status, attempts, trainer kind, trainer steps, certify metric, changes of the
    record; ``attempts``: its attempts, oldest first."""
    status, count, _, steps, metric, changes = fields
    last = attempts[-1] if attempts else None
    ending = status.get("ending") or {}
    metrics = merged_metrics(_line(attempts))
    total = changes.get("trainer.steps", steps)
    return RunRow(
        campaign=campaign,
        run=run,
        status=status["status"],
        result=ending.get("result"),
        failure_class=ending.get("failure_class"),
        rule=ending.get("rule"),
        attempt=count,
        step=_step(attempts),
        steps=total,
        metric=_main_metric(metric, metrics),
        metrics=metrics,
        device=", ".join(last.devices) if last else None,
        reason=_reason(status, ending, last),
        eta=_eta(last, total) if status["status"] == "active" and last else None,
        exit_code=ending.get("exit_code"),
        changes=changes,
    )


def _main_metric(certified: str, metrics: Mapping[str, MetricCell]) -> str:
    """The metric that its certificate goes by; where it never comes, the first that comes."""
    if certified in metrics:
        return certified
    own = (name for name in metrics if not name.startswith(("system/", "time/")))
    return next(own, certified)


def _reason(status: Mapping[str, Any], ending: Mapping[str, Any], last: AttemptRow | None) -> str:
    match status["status"]:
        case "queued":
            return str(status.get("why") or "")
        case "done":
            return str(ending.get("reason") or "")
    if last is None or last.status == "running":
        return ""
    if last.status == "starting":
        return "starting"
    if last.status == "stopping":
        return f"stopping: {last.reason}"
    return f"its attempt ended ({last.result}); waits for the watcher and for its devices"


def _eta(last: AttemptRow, total: int | None) -> Eta | None:
    if last.running_since is None:
        return None
    return eta_of(last.progress, total=total, first_step=last.first_step, since=last.running_since)


def _step(attempts: Sequence[AttemptRow]) -> int | None:
    """The newest attempt's step; before its first line, the step that it began at."""
    if not attempts:
        return None
    last = attempts[-1]
    return last.step if last.step is not None else (last.first_step or None)


def _line(attempts: Sequence[AttemptRow]) -> list[Leg]:
    """The attempts that the newest one continues, oldest first, each up to where it was left."""
    by_number = {attempt.number: attempt for attempt in attempts}
    legs: list[Leg] = []
    left_at: int | None = None
    current = attempts[-1] if attempts else None
    while current is not None:
        legs.append(Leg(progress=current.progress, left_at=left_at))
        if current.start.get("kind") != "resume" or current.parent is None:
            break
        begun = int(current.start.get("step") or 0)
        left_at = begun if left_at is None else min(begun, left_at)
        current = by_number.get(current.parent)
    return legs[::-1]
