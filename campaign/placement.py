"""Which run starts on which devices, and in a sentence why the others wait. Pure; no clock inside.

Priority first, then the order of submission. A run is never split over hosts. A later run may go
first where the earlier one cannot start now; so that small runs do not starve a large one for ever,
a run that needs several devices keeps the free ones of its best host once it has waited long enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from campaign.gpus.etiquette import Sight, Use
from campaign.gpus.probe import DeviceKind

if TYPE_CHECKING:
    from campaign.records import RunId


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Times in seconds. ``quiet``: looks must have found no stranger for so long before a GPU is
    taken. ``fresh``: an older look says nothing. ``reserve_after``: waiting time after which a run
    that needs several devices keeps what becomes free.
    """

    quiet: float = 15.0
    fresh: float = 45.0
    reserve_after: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run that could start. ``gpus`` 0 takes ``cpus`` CPU slots. ``pin`` and ``exclude`` are device
    ids, ``hosts`` names; an empty ``pin`` or ``hosts`` allows all. ``order``: position in the order of
    submission. ``since``: when it began to wait.
    """

    run: RunId
    order: int
    since: float
    priority: int = 0
    gpus: int = 0
    cpus: int = 1
    pin: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    @property
    def kind(self) -> DeviceKind:
        return DeviceKind.GPU if self.gpus else DeviceKind.CPU

    @property
    def need(self) -> int:
        return self.gpus or self.cpus


@dataclass(frozen=True, kw_only=True)
class DeviceState:
    """A device and what stands in the way of its use. ``excluded``: which configuration file says so,
    ``unread``: what keeps that from being known, ``quarantined``: why. A CPU slot needs no ``sight``.
    """

    id: str
    kind: DeviceKind
    host: str
    index: int
    leased_to: RunId | None = None
    excluded: str | None = None
    unread: str | None = None
    quarantined: str | None = None
    sight: Sight | None = None


class Bar(StrEnum):
    """Why a device cannot be given; the word stands in the sentence of a waiting run."""

    NOT_PINNED = "not pinned"
    EXCLUDED = "excluded"
    UNREAD = "kept back until the configuration can be read"
    QUARANTINED = "quarantined"
    LEASED = "leased"
    OURS = "still in use by us"  # released, and a process of ours not gone yet
    FOREIGN = "foreign"
    GHOST = "with unexplained memory"
    UNKNOWN = "in an unknown state"
    SETTLING = "watched for strangers"
    RESERVED = "kept"


FOR_EVER = frozenset({Bar.NOT_PINNED, Bar.EXCLUDED})
"""Bars that waiting does not lift."""

OURS_TO_LIFT = frozenset({Bar.LEASED, Bar.OURS, Bar.SETTLING})
"""Bars that end by our own runs ending, or by a little time."""


@dataclass(frozen=True, kw_only=True)
class Barred:
    bar: Bar
    detail: str


@dataclass(frozen=True, kw_only=True)
class Placement:
    """``assigned`` and ``why`` have one entry between them for each waiting run."""

    assigned: Mapping[RunId, tuple[str, ...]] = field(default_factory=dict)
    why: Mapping[RunId, str] = field(default_factory=dict)


Bars = dict[str, Barred]
Offer = Mapping[str, Sequence[tuple[DeviceState, Barred | None]]]
"""host -> its devices of the kind that a run wants, each with what bars it for that run."""


def place(
    waiting: Sequence[Waiting],
    devices: Sequence[DeviceState],
    now: float,
    policy: Policy = Policy(),
    problems: Mapping[str, str] | None = None,
    *,
    answered: bool = True,
) -> Placement:
    """The runs that start now, with their devices, and why the others wait.

    For the sentences: ``problems``, host -> what is wrong with its probe; ``answered``, whether any host
    has yet.
    """
    by_id = {device.id: device for device in devices}
    bars: Bars = {}
    for device in by_id.values():
        if barred := bar_of(device, now, policy):
            bars[device.id] = barred
    assigned: dict[RunId, tuple[str, ...]] = {}
    why: dict[RunId, str] = {}
    for run in sorted(waiting, key=lambda w: (-w.priority, w.order, w.run)):
        offer = _offer(run, by_id.values(), bars)
        if chosen := _choose(run, offer):
            assigned[run.run] = chosen
            bars |= dict.fromkeys(chosen, Barred(bar=Bar.LEASED, detail="/".join(run.run)))
            continue
        kept_on = _host_to_keep(run, offer, now, policy)
        kept = [] if kept_on is None else _free(offer[kept_on])
        bars |= {d.id: Barred(bar=Bar.RESERVED, detail="/".join(run.run)) for d in kept}
        why[run.run] = _why(run, offer, problems or {}, kept_on, now) if answered else _early(run)
    return Placement(assigned=assigned, why=why)


def bar_of(device: DeviceState, now: float, policy: Policy) -> Barred | None:
    """What keeps every run from the device, or None where it is free for the taking."""
    if device.excluded is not None:
        return Barred(bar=Bar.EXCLUDED, detail=device.excluded)
    if device.unread is not None:
        return Barred(bar=Bar.UNREAD, detail=device.unread)
    if device.leased_to is not None:
        return Barred(bar=Bar.LEASED, detail="/".join(device.leased_to))
    if device.quarantined is not None:
        return Barred(bar=Bar.QUARANTINED, detail=device.quarantined)
    return None if device.kind is DeviceKind.CPU else _bar_by_sight(device.sight, now, policy)


def _bar_by_sight(sight: Sight | None, now: float, policy: Policy) -> Barred | None:
    if sight is None:
        return Barred(bar=Bar.UNKNOWN, detail="not looked at yet")
    if now - sight.seen_at > policy.fresh:
        return Barred(bar=Bar.UNKNOWN, detail=f"last seen {now - sight.seen_at:.0f} s ago")
    match sight.use.use:
        case Use.FOREIGN:
            return Barred(bar=Bar.FOREIGN, detail=sight.use.brief)
        case Use.OURS:
            return Barred(bar=Bar.OURS, detail=sight.use.brief)
        case Use.GHOST:
            return Barred(bar=Bar.GHOST, detail=sight.use.brief)
        case Use.UNKNOWN:
            return Barred(bar=Bar.UNKNOWN, detail=sight.use.brief)
        case Use.FREE:
            clear = 0.0 if sight.clear_since is None else sight.seen_at - sight.clear_since
            if sight.clear_since is not None and clear >= policy.quiet:
                return None
            return Barred(bar=Bar.SETTLING, detail=f"{clear:.0f} of {policy.quiet:g} s")


def _offer(run: Waiting, devices: Iterable[DeviceState], bars: Bars) -> Offer:
    offer: dict[str, list[tuple[DeviceState, Barred | None]]] = {}
    for device in sorted(devices, key=lambda d: (d.host, d.index, d.id)):
        if device.kind is run.kind and (not run.hosts or device.host in run.hosts):
            barred = _bar_for(run, device) or bars.get(device.id)
            offer.setdefault(device.host, []).append((device, barred))
    return offer


def _bar_for(run: Waiting, device: DeviceState) -> Barred | None:
    if device.id in run.exclude:
        return Barred(bar=Bar.EXCLUDED, detail="by its spec")
    if run.pin and device.id not in run.pin:
        return Barred(bar=Bar.NOT_PINNED, detail="")
    return None


def _free(rows: Iterable[tuple[DeviceState, Barred | None]]) -> list[DeviceState]:
    return [device for device, barred in rows if barred is None]


def _choose(run: Waiting, offer: Offer) -> tuple[str, ...]:
    """Devices on the host where the fewest free ones stay behind; empty where none has enough."""
    fitting = [(len(_free(rows)), host) for host, rows in offer.items()]
    hosts = sorted(pair for pair in fitting if pair[0] >= run.need)
    return tuple(d.id for d in _free(offer[hosts[0][1]])[: run.need]) if hosts else ()


def _host_to_keep(run: Waiting, offer: Offer, now: float, policy: Policy) -> str | None:
    """The host whose free devices a starving run keeps: the one nearest to having enough.

    Only where our own runs' ending would make room: for a stranger's leaving no device stays idle.
    """
    if run.need < 2 or now - run.since < policy.reserve_after:
        return None
    ranked = []
    for host, rows in offer.items():
        free = len(_free(rows))
        ours = sum(barred is not None and barred.bar in OURS_TO_LIFT for _, barred in rows)
        if free + ours >= run.need:
            ranked.append((-free, host))
    return min(ranked)[1] if ranked else None


# ---------------------------------------------------------------- the sentence

_MOST_HOSTS = 4
_MOST_NAMES = 6


def _why(
    run: Waiting, offer: Offer, problems: Mapping[str, str], kept_on: str | None, now: float
) -> str:
    what = "GPU" if run.kind is DeviceKind.GPU else "CPU slot"
    head = f"waits for {run.need} {what}{'' if run.need == 1 else 's'}: "
    nearest_first = sorted(offer.items(), key=lambda item: (-len(_free(item[1])), item[0]))
    parts = [_host_clause(run, host, rows) for host, rows in nearest_first]
    if len(parts) > _MOST_HOSTS:
        parts = [*parts[:_MOST_HOSTS], f"{len(parts) - _MOST_HOSTS} more hosts"]
    if not parts:
        allowed = f" on {', '.join(sorted(run.hosts))}" if run.hosts else ""
        parts = [f"no {what} is known{allowed}"]
    elif _never(run, offer):
        parts = [f"no host has so many that it may use: {parts[0]}", *parts[1:]]
    if run.kind is DeviceKind.GPU:
        parts += [f"{host}: {text}" for host, text in sorted(problems.items())]
    if kept_on is not None:
        waited = f"{(now - run.since) / 60:.0f} min"
        parts.append(f"It has waited {waited}, so the free ones on {kept_on} are kept for it")
    return head + ". ".join(parts)


def _early(run: Waiting) -> str:
    what = "GPU" if run.kind is DeviceKind.GPU else "CPU slot"
    need = f"{run.need} {what}{'' if run.need == 1 else 's'}"
    return f"waits for {need}: no host has answered yet, as in the first seconds of a controller"


def _never(run: Waiting, offer: Offer) -> bool:
    """Whether no amount of waiting gives any one host enough."""
    usable = [
        sum(barred is None or barred.bar not in FOR_EVER for _, barred in rows)
        for rows in offer.values()
    ]
    return max(usable) < run.need


def _host_clause(run: Waiting, host: str, rows: Sequence[tuple[DeviceState, Barred | None]]) -> str:
    """``1 of 4 free on hosta; 2 leased (redx, ep_rr), 1 foreign (alice, 41 GiB)``"""
    groups: dict[Bar, list[str]] = {}
    for _, barred in rows:
        if barred is not None:
            groups.setdefault(barred.bar, []).append(barred.detail)
    head = f"{len(_free(rows))} of {len(rows)} free on {host}"
    tail = ", ".join(_group(run, bar, groups[bar]) for bar in Bar if bar in groups)
    return f"{head}; {tail}" if tail else head


def _group(run: Waiting, bar: Bar, details: Sequence[str]) -> str:
    """How many, the word, and who or why: each name once, runs of the same campaign without it."""
    own = f"{run.run[0]}/"
    names = list(dict.fromkeys(d.removeprefix(own) for d in details if d))
    more = [] if len(names) <= _MOST_NAMES else [f"{len(names) - _MOST_NAMES} more"]
    shown = ", ".join(names[:_MOST_NAMES] + more)
    count = f"{len(details)} {bar.value}"
    if bar is Bar.RESERVED:
        return f"{count} for {shown}"
    return f"{count} ({shown})" if shown else count
