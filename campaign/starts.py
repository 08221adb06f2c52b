"""Where an attempt may start from. Pure; docs/architecture.md §1 states the rule.

After a crash, a loss or a preemption: the newest complete checkpoint that lies in no alarm window.
After a kill for health: the newest certified one before the onset. A warm start: certified only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from campaign.records import (
    SCRATCH,
    Attempt,
    Checkpoint,
    CheckpointStatus,
    Run,
    RunId,
    StartFrom,
    StartKind,
)
from campaign.state import State
from specs.run import RunSpec
from specs.structure import differing


@dataclass(frozen=True, kw_only=True)
class Ready:
    start: StartFrom


@dataclass(frozen=True, kw_only=True)
class Wait:
    why: str


@dataclass(frozen=True, kw_only=True)
class Never:
    why: str


Plan = Ready | Wait | Never

_RESUMABLE = (CheckpointStatus.COMPLETE, CheckpointStatus.CERTIFIED)


def first_start(state: State, run: Run, spec: RunSpec) -> Plan:
    """Where the first attempt begins: from nothing, or from another run's certified checkpoint."""
    warm = spec.start.warm_from
    if warm is None:
        return Ready(start=SCRATCH)
    source: RunId = (warm.campaign or run.campaign, warm.run)
    if source not in state.runs:
        return Wait(why=f"waits for a certified checkpoint of {_name(source)}, not submitted yet")
    if unlike := _unlike(state.runs[source], spec):
        return Never(why=f"{_name(source)} trains another model: {unlike}")
    candidates = [
        c
        for c in lineage_checkpoints(state, source)
        if c.status is CheckpointStatus.CERTIFIED and (warm.step is None or c.step == warm.step)
    ]
    finished = _is_settled(state, source)
    if candidates and (finished or warm.step is not None):
        return Ready(start=_from(max(candidates, key=_age), StartKind.WARM))
    wanted = "its newest certified checkpoint" if warm.step is None else f"step {warm.step}"
    if not finished:
        return Wait(why=f"waits for {warm.run} to end: it starts from {wanted}")
    return Never(why=f"{_name(source)} ended without it: it starts from {wanted}; "
                 + describe(lineage_checkpoints(state, source)))  # fmt: skip


def _unlike(source: Run, spec: RunSpec) -> str:
    """What of the model differs from the source's; empty where nothing does, or its spec is lost."""
    if not isinstance(source.spec, RunSpec):
        return ""
    return ", ".join(
        f"trainer.{field} is {there} there and {here} here"
        for field, there, here in differing(source.spec.trainer, spec.trainer)
    )


def resume_start(state: State, run: Run, *, certified_only: bool = False) -> Plan:
    """The newest checkpoint that a crashed, lost or cancelled run may go on from."""
    allowed = (CheckpointStatus.CERTIFIED,) if certified_only else _RESUMABLE
    found = [c for c in lineage_checkpoints(state, run.id) if c.status in allowed]
    if found:
        return Ready(start=_from(max(found, key=_age), StartKind.RESUME))
    if (origin := _warm_origin(state, run.id)) is not None:
        return Ready(start=origin)
    kind = "certified" if certified_only else "complete and healthy"
    return Never(
        why=f"no {kind} checkpoint to resume from; " + describe(lineage_checkpoints(state, run.id))
    )


def step_start(state: State, run: Run, step: int) -> Plan:
    """The checkpoint of one step, if it may be resumed from."""
    found = [c for c in lineage_checkpoints(state, run.id) if c.step == step]
    allowed = [c for c in found if c.status in _RESUMABLE]
    if allowed:
        return Ready(start=_from(max(allowed, key=_age), StartKind.RESUME))
    if found:
        return Never(
            why=f"the checkpoint of step {step} is {found[-1].status.value}: {found[-1].reason}"
        )
    return Never(
        why=f"no checkpoint of step {step}; " + describe(lineage_checkpoints(state, run.id))
    )


def rollback_start(state: State, attempt: Attempt, onset: int) -> Plan:
    """The newest certified checkpoint before the onset of the alarm."""
    found = [
        c
        for c in lineage_checkpoints(state, attempt.run_id)
        if c.status is CheckpointStatus.CERTIFIED and c.step < onset
    ]
    if found:
        return Ready(start=_from(max(found, key=_age), StartKind.RESUME))
    if (origin := _warm_origin(state, attempt.run_id)) is not None:
        return Ready(start=origin)
    return Never(
        why=f"no certified checkpoint before step {onset}; "
        + describe(lineage_checkpoints(state, attempt.run_id))
    )


def lineage_checkpoints(state: State, run: RunId) -> list[Checkpoint]:
    """Checkpoints on the line of the run's newest attempt: what a rollback left is not on it."""
    limits: dict[int, float] = {}
    attempts = {a.number: a for a in state.attempts_of(run)}
    number = max(attempts, default=0)
    limit = float("inf")
    while number in attempts:
        limits[number] = limit
        start = attempts[number].start
        if start.kind is not StartKind.RESUME or start.attempt is None or start.step is None:
            break
        limit, number = min(limit, start.step), start.attempt
    return [
        c for c in state.checkpoints_of(run) if c.attempt in limits and c.step <= limits[c.attempt]
    ]


def describe(checkpoints: Iterable[Checkpoint]) -> str:
    """The checkpoints there are, with why each may not be used."""
    lines = [
        f"step {c.step} is {c.status.value}" + (f" ({c.reason})" if c.reason else "")
        for c in sorted(checkpoints, key=_age)
    ]
    return "; ".join(lines) if lines else "it wrote no checkpoint"


def _warm_origin(state: State, run: RunId) -> StartFrom | None:
    """The certified checkpoint of another run that this one began from, if it still is certified."""
    origin = next((a.start for a in state.attempts_of(run)), SCRATCH)
    if origin.kind is not StartKind.WARM:
        return None
    source = state.checkpoints.get(
        (origin.campaign or "", origin.run or "", origin.attempt or 0, origin.step or 0)
    )
    certified = source is not None and source.status is CheckpointStatus.CERTIFIED
    return origin if certified else None


def _is_settled(state: State, run: RunId) -> bool:
    return state.runs[run].status.status == "done"


def _age(checkpoint: Checkpoint) -> tuple[int, int]:
    return (checkpoint.step, checkpoint.attempt)


def _from(checkpoint: Checkpoint, kind: StartKind) -> StartFrom:
    return StartFrom(
        kind=kind,
        campaign=checkpoint.campaign,
        run=checkpoint.run,
        attempt=checkpoint.attempt,
        step=checkpoint.step,
        checkpoint=checkpoint.path,
        manifest_sha256=checkpoint.manifest_sha256,
        host=checkpoint.host,
    )


def _name(run: RunId) -> str:
    return f"{run[0]}/{run[1]}"
