"""From the store's JSON to rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from campaign.naming import RunName
from campaign.pace import Eta, Leg, MetricCell, eta_of, merged_metrics
from campaign.rows import NOT_TAKEN, AlertRow, AttemptRow, CampaignRow, CheckpointRow, RunRow


def run_rows(runs: Sequence[Any], attempts: Iterable[AttemptRow]) -> list[RunRow]:
    by_run: dict[RunName, list[AttemptRow]] = {}
    for attempt in attempts:
        by_run.setdefault((attempt.campaign, attempt.run), []).append(attempt)
    records = loaded(record for _, _, record in runs)
    return [
        run_row(campaign, run, record, by_run.get((campaign, run), ()))
        for (campaign, run, _), record in zip(runs, records, strict=True)
    ]


def attempt_rows(found: Sequence[Any]) -> list[AttemptRow]:
    records = loaded(row[4] for row in found)
    progresses = loaded(row[5] for row in found)
    return [
        attempt_row(campaign, run, number, status, record, progress or {})
        for (campaign, run, number, status, *_), record, progress in zip(
            found, records, progresses, strict=True
        )
    ]


def waiting_run(campaign: str, run: str, spec: Mapping[str, Any]) -> RunRow:
    # as it was written, perhaps by another version: what is not there is not shown
    trainer = spec.get("trainer") or {}
    metric = (spec.get("certify") or {}).get("metric", "")
    status = {"status": "queued", "why": NOT_TAKEN}
    return run_row(campaign, run, [status, 0, trainer.get("steps"), metric, {}], ())


def loaded(texts: Iterable[str | None]) -> list[Any]:
    """The values of many JSON texts, parsed at one go; None where there is no text."""
    values: list[Any] = json.loads(f"[{','.join(text or 'null' for text in texts)}]")
    return values


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
    """``fields``: status, attempts, trainer steps, certify metric, changes of the record;
    ``attempts``: its attempts, oldest first."""
    status, count, steps, metric, changes = fields
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
        phase=next((a.phase for a in reversed(attempts) if a.step is not None), None),
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


def campaign_row(record: Sequence[Any], *, waiting: bool) -> CampaignRow:
    name, profile, submitted_at, commit, dirty = record
    return CampaignRow(
        name=name,
        profile=profile,
        submitted_at=submitted_at,
        git_commit=commit,
        git_dirty=bool(dirty),
        waiting=waiting,
    )


def checkpoint_row(
    attempt: tuple[str, str, int],
    step: int,
    status: str,
    fields: Sequence[Any],
    said: Mapping[str, Mapping[str, Any]],
) -> CheckpointRow:
    """``fields``: path, host, completed_at, reason, evidence; ``said``: the watcher's words by step."""
    path, host, completed_at, reason, evidence = fields
    return CheckpointRow(
        campaign=attempt[0],
        run=attempt[1],
        attempt=attempt[2],
        step=step,
        status=status,
        reason=reason or said.get(str(step), {}).get("reason", ""),
        path=path,
        host=host,
        completed_at=completed_at,
        evidence=evidence,
    )


def alert_row(number: int, record: Mapping[str, Any]) -> AlertRow:
    return AlertRow(id=number, **{name: v for name, v in record.items() if name != "key"})
