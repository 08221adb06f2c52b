"""Which queued runs start now. Pure: builds the picker's view of the state and applies its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from campaign import starts
from campaign.gpus.etiquette import Ours
from campaign.gpus.probe import Device, DeviceKind
from campaign.gpus.resolve import resolve
from campaign.hosts.port import HostFacts
from campaign.moves import RunFact, move_run
from campaign.orders import AnyOrder, StartAttempt
from campaign.placement import DeviceState, Waiting, place
from campaign.state import (
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
    State,
)


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
    plans = {run.id: _plan(state, run) for run in queued}
    devices = known_devices(state)
    waiting = [
        _waiting(run, run.status, plan.start, devices)
        for run in queued
        if isinstance(plan := plans[run.id], starts.Ready)
        and isinstance(run.status, Queued)
        and run.status.not_before <= now
    ]
    placed = place(waiting, _device_states(state), now, state.policy, _problems(state))
    records: list[AnyRecord] = []
    orders: list[AnyOrder] = []
    notes: list[str] = []
    for run in sorted(queued, key=lambda r: r.order):
        plan = plans[run.id]
        if isinstance(plan, starts.Never):
            records.append(_refused(run, plan.why, now))
            notes.append(f"{run.campaign}/{run.name} cannot start: {plan.why}")
        elif isinstance(plan, starts.Ready) and run.id in placed.assigned:
            attempt = _new_attempt(state, run, plan.start, placed.assigned[run.id], now)
            records += [_activated(run, attempt), attempt]
            orders.append(StartAttempt(attempt=attempt.id))
            notes.append(_started_note(attempt))
        else:
            why = plan.why if isinstance(plan, starts.Wait) else placed.why.get(run.id, "")
            records += _waits(run, why or _back_off_why(run.status))
    return Scheduled(records=tuple(records), orders=tuple(orders), notes=tuple(notes))


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


def _plan(state: State, run: Run) -> starts.Plan:
    assert isinstance(run.status, Queued)
    if run.status.start is not None:
        return starts.Ready(start=run.status.start)
    return starts.first_start(state, run)


def _waiting(run: Run, status: Queued, start: StartFrom, devices: tuple[Device, ...]) -> Waiting:
    """What the picker needs to know; a checkpoint binds the run to the host where it lies."""
    resolved = resolve(run.spec.resources, devices, (), complete=False)
    unknown = frozenset(f"unknown device {ref}" for ref in resolved.unresolved)
    hosts = frozenset(run.spec.resources.hosts)
    if start.host is not None:
        hosts = frozenset((start.host,))
    return Waiting(
        run=run.id,
        order=run.order,
        since=status.since,
        priority=run.spec.priority,
        gpus=run.spec.resources.gpus,
        cpus=run.spec.resources.cpus,
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


def _refused(run: Run, why: str, now: float) -> Run:
    move_run(f"{run.campaign}/{run.name}", run.status.status, RunFact.REFUSED)
    ending = Ending(
        result=Result.FAILED, failure_class=FailureClass.COULD_NOT_START, reason=why, exit_code=13
    )
    return run.model_copy(update={"status": Done(at=now, ending=ending)})


def _waits(run: Run, why: str) -> list[AnyRecord]:
    assert isinstance(run.status, Queued)
    if run.status.why == why:
        return []
    return [run.model_copy(update={"status": run.status.model_copy(update={"why": why})})]


def _back_off_why(status: object) -> str:
    assert isinstance(status, Queued)
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
