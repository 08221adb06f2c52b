"""Which queued runs start now. Pure: builds the picker's view of the state and applies its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from campaign import starts
from campaign.gpus.etiquette import Ours
from campaign.gpus.freeze import freeze, frozen
from campaign.gpus.probe import Device, DeviceKind
from campaign.gpus.resolve import resolve
from campaign.hosts.port import HostFacts
from campaign.moves import RunFact, move_run
from campaign.orders import AnyOrder, StartAttempt
from campaign.placement import DeviceState, Placement, Waiting, place
from campaign.records import (
    Active,
    AnyRecord,
    Attempt,
    AttemptId,
    Done,
    Ending,
    FailureClass,
    Queued,
    Result,
    Run,
    StartFrom,
    Starting,
    StartKind,
)
from campaign.state import State
from campaign.stored_spec import Unusable, effective
from specs.run import RunSpec

NO_CHECKPOINT = 13
"""Exit code of a run that can never begin: there is nothing that it may start from."""


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    records: tuple[AnyRecord, ...] = ()
    orders: tuple[AnyOrder, ...] = ()
    notes: tuple[str, ...] = ()


def schedule(state: State, now: float) -> Scheduled:
    """New attempts for the runs that may start, the reason for those that may not."""
    queued = [r for r in state.runs.values() if isinstance(r.status, Queued)]
    if not queued:
        return Scheduled()
    devices = known_devices(state)
    found = [(run, made_ready(run, devices)) for run in sorted(queued, key=lambda r: r.order)]
    plans = {run.id: _plan(state, made) for run, made in found if isinstance(made, Made)}
    waiting = [
        _waiting(made, _only_hosts(state, plan.start), devices)
        for run, made in found
        if isinstance(made, Made)
        and isinstance(plan := plans[run.id], starts.Ready)
        and made.status.not_before <= now
    ]
    placed = place(
        waiting,
        _device_states(state),
        now,
        state.policy,
        _problems(state),
        answered=bool(state.hosts),
    )
    steps = [
        _refused(run, made, now, exit_code=None)
        if isinstance(made, str)
        else _next(state, run, made, plans[run.id], placed, now)
        for run, made in found
    ]
    return Scheduled(
        records=tuple(record for step in steps for record in step.records),
        orders=tuple(order for step in steps for order in step.orders),
        notes=tuple(note for step in steps for note in step.notes),
    )


def _next(
    state: State, before: Run, made: Made, plan: starts.Plan, placed: Placement, now: float
) -> Scheduled:
    """What becomes of one queued run: it starts, it waits and says why, or it never can."""
    run = made.run
    if isinstance(plan, starts.Never):
        return _refused(run, plan.why, now, exit_code=NO_CHECKPOINT)
    if isinstance(plan, starts.Ready) and run.id in placed.assigned:
        attempt = _new_attempt(state, run, plan.start, placed.assigned[run.id], now)
        return Scheduled(
            records=(_activated(run, attempt), attempt),
            orders=(StartAttempt(attempt=attempt.id),),
            notes=(*made.notes, _started_note(attempt)),
        )
    why = plan.why if isinstance(plan, starts.Wait) else placed.why.get(run.id, "")
    after = _waits(run, made.status, why or _back_off_why(made.status))
    return Scheduled(records=() if after is before else (after,), notes=made.notes)


def known_devices(state: State) -> tuple[Device, ...]:
    """Devices of every host ever seen; a host that is down keeps its own."""
    return tuple(d for host in state.hosts.values() for d in host.facts.devices.devices)


def ours_on(state: State, facts: HostFacts) -> Ours:
    """Which pids on a host belong to the attempt that leases each device."""
    pids: dict[str, frozenset[int]] = {}
    for attempt in state.attempts.values():
        if attempt.leased and attempt.host == facts.host:
            mine = frozenset(facts.cookies.get(attempt.cookie, ()))
            pids |= dict.fromkeys(attempt.devices, mine)
    return Ours(uid=facts.uid, pids=pids)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A queued run of which an attempt could be made: its spec as it holds now, its devices named."""

    run: Run
    status: Queued
    spec: RunSpec
    notes: tuple[str, ...] = ()


def made_ready(run: Run, devices: Sequence[Device]) -> Made | str:
    """The run with what its device references mean, or why no attempt of it can ever be made."""
    status = run.status
    assert isinstance(status, Queued)
    try:
        spec = effective(run.spec, run.changes)
    except Unusable as error:
        return str(error)
    found = freeze(spec.resources, devices, run.references)
    if found.problems:
        return "; ".join(found.problems)
    if found.ids != run.references:
        run = run.model_copy(update={"references": dict(found.ids)})
    notes = tuple(f"{run.campaign}/{run.name}: {text}" for text in found.new)
    return Made(run=run, status=status, spec=spec, notes=notes)


def _plan(state: State, made: Made) -> starts.Plan:
    if made.status.start is not None:
        return starts.Ready(start=made.status.start)
    return starts.first_start(state, made.run, made.spec)


def _only_hosts(state: State, start: StartFrom) -> frozenset[str]:
    """A checkpoint can be brought to every host, but from one that has it to itself and is not here."""
    lies_on = None if start.host is None else state.hosts.get(start.host)
    if lies_on is None or lies_on.up or lies_on.facts.shares_home:
        return frozenset()
    return frozenset((lies_on.name,))


def _waiting(made: Made, only: frozenset[str], devices: Sequence[Device]) -> Waiting:
    """What the picker needs to know; ``only``: no other hosts than these, if any are named."""
    run, spec = made.run, made.spec
    resources = frozen(spec.resources, run.references)
    resolved = resolve(resources, devices, (), complete=False)
    unknown = frozenset(f"unknown device {ref}" for ref in resolved.unresolved)
    hosts = only or frozenset(resources.hosts)
    return Waiting(
        run=run.id,
        order=run.order,
        since=made.status.since,
        priority=spec.priority,
        gpus=resources.gpus,
        cpus=resources.cpus,
        pin=frozenset(resolved.pin) | unknown,
        exclude=resolved.exclude,
        hosts=hosts,
    )


def _device_states(state: State) -> list[DeviceState]:
    """Devices of the hosts that answer; a host that does not answer offers nothing."""
    leases = state.leases()
    found = []
    for host in state.hosts.values():
        if not host.up:
            continue
        sights = state.sights[host.name].sights if host.name in state.sights else {}
        for device in host.facts.devices.devices:
            holder = leases.get(device.id)
            quarantine = state.quarantines.get(device.id)
            found.append(
                DeviceState(
                    id=device.id,
                    kind=device.kind,
                    host=device.host,
                    index=device.index,
                    leased_to=None if holder is None else holder.run_id,
                    excluded=host.facts.excluded.get(device.id),
                    unread="; ".join(host.facts.misconfigured) or None,
                    quarantined=quarantine.reason if quarantine and not quarantine.lifted else None,
                    sight=sights.get(device.id) if device.kind is DeviceKind.GPU else None,
                )
            )
    return found


def _problems(state: State) -> Mapping[str, str]:
    return {
        h.name: h.facts.devices.problem
        for h in state.hosts.values()
        if h.up and h.facts.devices.problem is not None
    }


def _new_attempt(
    state: State, run: Run, start: StartFrom, devices: tuple[str, ...], now: float
) -> Attempt:
    number = run.attempts + 1
    host = next(
        h.name
        for h in state.hosts.values()
        if any(d.id == devices[0] for d in h.facts.devices.devices)
    )
    root = state.campaigns[run.campaign].root
    return Attempt(
        campaign=run.campaign,
        run=run.name,
        number=number,
        cookie=_cookie(root, (run.campaign, run.name, number), now),
        host=host,
        devices=devices,
        directory=f"{root}/{run.campaign}/{run.name}/attempt-{number}",
        start=start,
        parent=start.attempt if start.kind is StartKind.RESUME else None,
        created_at=now,
        status=Starting(),
    )


def _cookie(root: str, attempt: AttemptId, now: float) -> str:
    """128 bits that no other attempt of any home carries."""
    return hashlib.sha256(f"{root}|{attempt}|{now!r}".encode()).hexdigest()[:32]


def _activated(run: Run, attempt: Attempt) -> Run:
    move_run(f"{run.campaign}/{run.name}", run.status.status, RunFact.PLACED)
    return run.model_copy(
        update={"attempts": attempt.number, "status": Active(attempt=attempt.number)}
    )


def _refused(run: Run, why: str, now: float, *, exit_code: int | None) -> Scheduled:
    name = f"{run.campaign}/{run.name}"
    move_run(name, run.status.status, RunFact.REFUSED)
    ending = Ending(
        result=Result.FAILED,
        failure_class=FailureClass.COULD_NOT_START,
        reason=why,
        exit_code=exit_code,
    )
    done = run.model_copy(update={"status": Done(at=now, ending=ending)})
    return Scheduled(records=(done,), notes=(f"{name} cannot start: {why}",))


def _waits(run: Run, status: Queued, why: str) -> Run:
    if status.why == why:
        return run
    return run.model_copy(update={"status": status.model_copy(update={"why": why})})


def _back_off_why(status: Queued) -> str:
    return f"waits {status.not_before - status.since:.0f} s before it is tried again"


def _started_note(attempt: Attempt) -> str:
    start = attempt.start
    where = (
        "nothing"
        if start.step is None
        else f"step {start.step} of {start.run} attempt {start.attempt}"
    )
    return (
        f"{attempt.campaign}/{attempt.run} attempt {attempt.number} starts from {where} "
        f"on {', '.join(attempt.devices)}"
    )
