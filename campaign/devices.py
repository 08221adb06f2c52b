"""What `campaign gpus` shows of every device: who has it, or why nobody may. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from campaign.gpus.etiquette import Ours, Sight, Use, look
from campaign.gpus.probe import Device, DeviceKind
from campaign.hosts.port import HostFacts
from campaign.rows import AttemptRow


@dataclass(frozen=True, kw_only=True)
class DeviceRow:
    """``use``: free, ours, foreign, ghost, unknown, excluded, quarantined or down; ``why`` says it in
    a sentence. ``owner``: campaign/run of the attempt that holds it. ``probe``: who looked; with
    ``fake`` nothing here is real. Memory in bytes.
    """

    device: str
    kind: str
    host: str
    index: int
    name: str
    use: str
    why: str
    owner: str | None
    attempt: int | None
    memory_used: int | None
    memory_total: int | None
    users: tuple[str, ...]
    probe: str
    seen_at: float


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A host as it was last seen (unix seconds); ``up``: it answered then."""

    facts: HostFacts
    at: float
    up: bool


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What the store says of devices: device -> the attempt that holds it, device -> why it is
    quarantined, attempt -> the cookie by which its processes are known."""

    leases: Mapping[str, AttemptRow]
    quarantines: Mapping[str, str]
    cookies: Mapping[tuple[str, str, int], str]


def device_rows(hosts: Iterable[Seen], holdings: Holdings) -> list[DeviceRow]:
    """Every device of every host, GPUs first."""
    rows = [
        _row(device, seen, holdings, _ours(seen.facts, holdings))
        for seen in hosts
        for device in seen.facts.devices.devices
    ]
    return sorted(rows, key=lambda row: (row.host, row.kind != "gpu", row.index, row.device))


def host_problems(hosts: Iterable[Seen]) -> list[str]:
    """What is wrong with hosts and probes, a sentence each."""
    found = []
    for seen in hosts:
        facts = seen.facts
        texts = [f"does not answer since {seen.at:.0f}"] if not seen.up else []
        texts += [f"nothing starts until this is mended: {p}" for p in facts.misconfigured]
        texts += [facts.devices.problem] if facts.devices.problem else []
        found += [f"{facts.host}: {text}" for text in (*texts, *facts.problems)]
    return found


def _ours(facts: HostFacts, holdings: Holdings) -> Ours:
    """Which pids of a host belong to the attempt that holds each device."""
    pids = {}
    for device, attempt in holdings.leases.items():
        key = (attempt.campaign, attempt.run, attempt.number)
        if attempt.host == facts.host and key in holdings.cookies:
            pids[device] = frozenset(facts.cookies.get(holdings.cookies[key], ()))
    return Ours(uid=facts.uid, pids=pids)


def _row(device: Device, seen: Seen, holdings: Holdings, ours: Ours) -> DeviceRow:
    holder = holdings.leases.get(device.id)
    sight = look(None, device, ours, seen.at) if device.kind is DeviceKind.GPU else None
    use, why = _use(device, seen, holdings, sight)
    return DeviceRow(
        device=device.id,
        kind=device.kind.value,
        host=device.host,
        index=device.index,
        name=device.name,
        use=use,
        why=why,
        owner=None if holder is None else f"{holder.campaign}/{holder.run}",
        attempt=None if holder is None else holder.number,
        memory_used=device.memory_used,
        memory_total=device.memory_total,
        users=tuple(dict.fromkeys(_user(p.user, p.uid) for p in device.processes)),
        probe=seen.facts.devices.probe.value,
        seen_at=seen.at,
    )


def _use(device: Device, seen: Seen, holdings: Holdings, sight: Sight | None) -> tuple[str, str]:
    """One word and the sentence behind it; what keeps everybody away comes first."""
    barred = seen.facts.excluded.get(device.id)
    excluded = "" if barred is None else f"excluded by {barred}"
    if not seen.up:
        return "down", f"{seen.facts.host} does not answer"
    if device.id in holdings.leases:
        foreign = sight is not None and sight.use.use is Use.FOREIGN
        stranger = f"also used: {sight.use.reason}" if sight is not None and foreign else ""
        return "ours", "; ".join(text for text in (stranger, excluded) if text)
    if seen.facts.misconfigured:
        return "unknown", f"may be excluded: {'; '.join(seen.facts.misconfigured)}"
    if excluded:
        return "excluded", excluded
    if device.id in holdings.quarantines:
        return "quarantined", holdings.quarantines[device.id]
    if sight is None:
        return "free", ""
    if sight.use.use is Use.FREE:
        return "free", ""
    return sight.use.use.value, sight.use.reason


def _user(name: str | None, uid: int | None) -> str:
    return name or ("a hidden user" if uid is None else f"uid {uid}")
