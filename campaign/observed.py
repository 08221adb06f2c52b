"""What an observation of an attempt changes. Pure: the restart table of docs/architecture.md.

Observations repeat: after a restart the same lines come again. Everything here is therefore
idempotent, and a fact about a done attempt is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from campaign.hosts.port import Liveness, Observation
from campaign.moves import AttemptFact, move_attempt
from campaign.records import (
    Alert,
    AnyRecord,
    Attempt,
    Checkpoint,
    CheckpointStatus,
    Ended,
    Ending,
    Progress,
    Quarantine,
    Running,
    Starting,
    Stopping,
    WatchVerdict,
)
from campaign.state import State
from specs import endings

_JUDGED = {
    "certified": CheckpointStatus.CERTIFIED,
    "revoked": CheckpointStatus.REVOKED,
    "quarantined": CheckpointStatus.QUARANTINED,
}
_FINAL = (CheckpointStatus.REVOKED, CheckpointStatus.QUARANTINED)


@dataclass(frozen=True, kw_only=True)
class Seen:
    attempt: Attempt
    records: tuple[AnyRecord, ...]
    notes: tuple[str, ...]
    to_reap: str | None = None  # why: its shim is dead and has recorded no end


def attempt_after(state: State, attempt: Attempt, seen: Observation, now: float) -> Seen:
    """The attempt and its records after one look at it."""
    after, notes = _from_events(attempt, seen.events)
    after = _from_watch(after, seen.watch)
    after = after.model_copy(update={"cursor": seen.cursor})
    after, to_reap, more = _from_processes(after, seen, now)
    if isinstance(after.status, Ended) and after.leased and not seen.locks_held:
        after = after.model_copy(update={"leased": False})
    records: list[AnyRecord] = [after] if after != attempt else []
    records += _checkpoints(state, attempt, seen)
    records += _alerts(state, attempt, seen.watch)
    records += _quarantines(attempt, seen, now)
    if seen.progress is not None:
        records.append(
            Progress(
                campaign=attempt.campaign,
                run=attempt.run,
                number=attempt.number,
                progress=seen.progress,
            )
        )
    return Seen(attempt=after, records=tuple(records), notes=(*notes, *more), to_reap=to_reap)


def _from_events(
    attempt: Attempt, events: Iterable[Mapping[str, Any]]
) -> tuple[Attempt, tuple[str, ...]]:
    """The trainer's own word of how it failed."""
    for event in events:
        if event.get("event") == "failed":
            failure = (str(event.get("class", "bad_exit")), str(event.get("message", "")))
            attempt = attempt.model_copy(update={"trainer_failure": failure})
    return attempt, ()


def _from_watch(attempt: Attempt, lines: Iterable[Mapping[str, Any]]) -> Attempt:
    for line in lines:
        if line.get("kind") == "verdict" and line.get("action") in ("kill", "rollback"):
            verdict = WatchVerdict(
                action=line["action"],
                rule=str(line["rule"]),
                reason=str(line["reason"]),
                onset=int(line.get("onset") or 0),
                end=int(line.get("end") or line.get("step") or 0),
            )
            if attempt.verdict is None:
                attempt = attempt.model_copy(update={"verdict": verdict})
        elif line.get("kind") == "closed":
            attempt = attempt.model_copy(update={"watch_closed": True})
    return attempt


def _from_processes(
    attempt: Attempt, seen: Observation, now: float
) -> tuple[Attempt, str | None, tuple[str, ...]]:
    """Liveness and exit record. Returns (attempt, why it is to be reaped, notes).

    Whether or not anything is left of it: the reaper makes sure, and writes the exit record that
    the watcher and the publisher wait for too.
    """
    who = f"{attempt.campaign}/{attempt.run} attempt {attempt.number}"
    if isinstance(attempt.status, Ended):
        return attempt, None, ()
    if seen.exit is not None:
        ending = _ending(attempt, seen.exit)
        move_attempt(who, attempt.status.status, AttemptFact.EXITED)
        ended = Ended(at=float(seen.exit.get("ended_at") or now), ending=ending)
        note = f"{who} ended: {ending.result.value} ({ending.reason})"
        return attempt.model_copy(update={"status": ended}), None, (note,)
    if seen.pid is None:
        return attempt, None, ()
    attempt = _spawned(attempt, seen, now, who)
    if seen.same_boot and seen.shim is not Liveness.DEAD:
        return attempt, None, ()
    why = "its shim was killed" if seen.same_boot else "the host was rebooted"
    return attempt, why, ()


def _spawned(attempt: Attempt, seen: Observation, now: float, who: str) -> Attempt:
    """The trainer's identity, and that the attempt runs, once pid.json has both."""
    pid = seen.pid or {}
    trainer = pid.get("trainer")
    if trainer is None:
        return attempt
    update: dict[str, Any] = {
        "identity": {"boot_id": pid.get("boot_id"), "shim": pid.get("shim"), **trainer}
    }
    if isinstance(attempt.status, Starting):
        move_attempt(who, attempt.status.status, AttemptFact.SPAWNED)
        update["status"] = Running(since=float(pid.get("started_at") or now))
    if seen.kill is not None and isinstance(attempt.status, (Starting, Running)):
        order = seen.kill.get("order") or {}
        update["status"] = Stopping(
            since=now, by=str(order.get("by", "?")), reason=str(order.get("reason", ""))
        )
    return attempt.model_copy(update=update)


def _ending(attempt: Attempt, record: Mapping[str, Any]) -> Ending:
    """exit.json and the trainer's own word in the store's terms."""
    failed = None
    if attempt.trainer_failure is not None:
        failed = dict(zip(("class", "message"), attempt.trainer_failure, strict=True))
    return Ending(**asdict(endings.of_exit(record, failed)))


def _checkpoints(state: State, attempt: Attempt, seen: Observation) -> list[AnyRecord]:
    """New checkpoints, and what the watcher said of old ones. Revoked is for ever."""
    known = {
        c.step: c
        for c in state.checkpoints.values()
        if (c.campaign, c.run, c.attempt) == attempt.id
    }
    changed: dict[int, Checkpoint] = {}
    for facts in seen.checkpoints:
        if facts.step not in known:
            changed[facts.step] = known[facts.step] = Checkpoint(
                campaign=attempt.campaign,
                run=attempt.run,
                attempt=attempt.number,
                step=facts.step,
                path=facts.path,
                host=attempt.host,
                manifest_sha256=facts.manifest_sha256,
                completed_at=facts.completed_at,
                evidence=facts.evidence,
            )
    present = {facts.step for facts in seen.checkpoints}
    for step, record in known.items():
        if step not in present and record.status is not CheckpointStatus.RETIRED:
            changed[step] = known[step] = record.model_copy(
                update={"status": CheckpointStatus.RETIRED, "reason": "deleted by retention"}
            )
    for line in seen.watch:
        status = _JUDGED.get(str(line.get("kind")))
        record_ = known.get(int(line.get("checkpoint_step") or -1))
        if (
            status is None
            or record_ is None
            or record_.status in (*_FINAL, CheckpointStatus.RETIRED)
        ):
            continue
        changed[record_.step] = known[record_.step] = record_.model_copy(
            update={"status": status, "reason": str(line.get("reason") or "")}
        )
    return list(changed.values())


def _alerts(state: State, attempt: Attempt, lines: Iterable[Mapping[str, Any]]) -> list[AnyRecord]:
    found: list[AnyRecord] = []
    for line in lines:
        if line.get("kind") not in ("alert", "verdict"):
            continue
        alert = Alert(
            campaign=attempt.campaign,
            run=attempt.run,
            attempt=attempt.number,
            key=str(line["key"]),
            at=float(line["t"]),
            rule=str(line.get("rule") or "watcher"),
            action=str(line.get("action") or "alert"),
            reason=str(line["reason"]),
            step=line.get("step"),
            metric=line.get("metric"),
            value=line.get("value"),
        )
        if alert.id not in state.alerts:
            found.append(alert)
    return found


def _quarantines(attempt: Attempt, seen: Observation, now: float) -> list[AnyRecord]:
    """A GPU whose memory did not come back is not offered again until a person looked."""
    release = (seen.exit or {}).get("gpu_release") or {}
    if isinstance(attempt.status, Ended) or release.get("ok", True):
        return []
    held = str(release.get("detail") or "its memory was not given back")
    return [
        Quarantine(device=device, since=now, reason=f"after {attempt.run}: {held}")
        for device in attempt.devices
        if not device.startswith("cpu:")
    ]
