"""What follows from hosts that come, change and do not answer. Pure."""

from __future__ import annotations

from campaign import events as e
from campaign.decision import NOTHING, Decision, alerted
from campaign.gpus.etiquette import look_at_host
from campaign.records import AnyRecord, HostRecord, HostSights
from campaign.schedule import ours_on
from campaign.state import State


def host_seen(state: State, event: e.HostSeen, now: float) -> Decision:
    """Its devices, who uses them, and whether its configuration can be read."""
    facts = event.facts
    before = state.hosts.get(facts.host)
    sights = look_at_host(
        state.sights[facts.host].sights if facts.host in state.sights else {},
        facts.devices,
        ours_on(state, facts),
        now,
        idle_limit=state.idle_limit,
    )
    notes = () if before is not None and before.up else (f"host {facts.host} is here",)
    records: tuple[AnyRecord, ...] = (
        HostRecord(name=facts.host, up=True, seen_at=now, facts=facts),
        HostSights(host=facts.host, sights=sights),
    )
    return Decision(records=records, notes=notes).then(state, _configuration(before, event, now))


def _configuration(before: HostRecord | None, event: e.HostSeen, now: float) -> Decision:
    """An unreadable file may exclude any device: nothing starts there before it is mended."""
    host, broken = event.facts.host, event.facts.misconfigured
    was = () if before is None else before.facts.misconfigured
    if broken == was:
        return NOTHING
    if not broken:
        return Decision(notes=(f"host {host}: its configuration can be read again",))
    reason = f"host {host}: nothing starts there until this is mended: {'; '.join(broken)}"
    return alerted(f"configuration:{host}:{now:.3f}", reason, now)


def host_lost(state: State, event: e.HostLost) -> Decision:
    if (record := state.hosts.get(event.host)) is None or not record.up:
        return NOTHING
    return Decision(
        records=(record.model_copy(update={"up": False}),),
        notes=(f"host {event.host} does not answer: {event.reason}; its trainers may go on",),
    )
