"""Who uses a GPU: nobody, we, a stranger, a ghost, or we cannot tell. Pure; time is an argument.

A stranger is told by its process, not by its memory: a job that has just started holds little. And a
GPU is clear of strangers only after a row of looks without one, because the moment between two jobs
of somebody else is not an invitation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from campaign.gpus.probe import Device, DeviceProcess, DeviceReport, ProbeKind

MIB = 1 << 20
GIB = 1 << 30
TOLERANCE = 64 * MIB
"""Memory above the idle baseline that needs a process to explain it."""

IDLE_LIMIT = 512 * MIB
"""A GPU without processes that holds more than this was not idle when it was first seen."""


class Use(StrEnum):
    FREE = "free"
    OURS = "ours"
    FOREIGN = "foreign"
    GHOST = "ghost"  # memory that no listed process holds
    UNKNOWN = "unknown"  # never read as free


@dataclass(frozen=True, kw_only=True)
class DeviceUse:
    """``brief`` fits a table cell (``alice, 41 GiB``), ``reason`` is a sentence."""

    use: Use
    brief: str
    reason: str
    strangers: tuple[DeviceProcess, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ours:
    """Our live processes on one host: device id -> pids of the attempt that leases it."""

    uid: int
    pids: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def anywhere(self) -> frozenset[int]:
        return frozenset().union(*self.pids.values())


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The newest look at a device. ``clear_since``: time of the first of an unbroken row of looks
    that found no stranger; None where the newest look does not belong to such a row. ``baseline``:
    bytes in use when idle, None until it was seen idle.
    """

    use: DeviceUse
    seen_at: float
    clear_since: float | None
    baseline: int | None = None


def judge(
    device: Device, ours: Ours, *, baseline: int = 0, tolerance: int = TOLERANCE
) -> DeviceUse:
    """Who uses the device, by the newest look at it. ``baseline``, ``tolerance``: bytes."""
    if device.problem is not None:
        return DeviceUse(use=Use.UNKNOWN, brief=device.problem, reason=device.problem)
    mine = ours.pids.get(device.id, frozenset())
    strangers = tuple(p for p in device.processes if p.pid not in mine)
    if strangers:
        return DeviceUse(
            use=Use.FOREIGN,
            brief=_by_user(strangers),
            reason="; ".join(_sentence(p, ours) for p in strangers),
            strangers=strangers,
        )
    if device.processes:
        held = memory_text(sum(p.memory_bytes or 0 for p in device.processes))
        return DeviceUse(use=Use.OURS, brief=held, reason=f"our run holds {held}")
    return _without_processes(device, baseline, tolerance)


def _without_processes(device: Device, baseline: int, tolerance: int) -> DeviceUse:
    extra = (device.memory_used or 0) - baseline
    if extra <= tolerance:
        return DeviceUse(use=Use.FREE, brief="", reason="no process uses it")
    held = memory_text(extra)
    reason = (
        f"{held} are in use and no listed process holds them: a process may be dying, or hidden "
        "from us in another container"
    )
    return DeviceUse(use=Use.GHOST, brief=held, reason=reason)


def look(
    previous: Sight | None,
    device: Device,
    ours: Ours,
    now: float,
    *,
    idle_limit: int = IDLE_LIMIT,
) -> Sight:
    """The sight after one more look at a device."""
    baseline = _baseline(previous, device, idle_limit)
    use = judge(device, ours, baseline=baseline or 0)
    return Sight(use=use, seen_at=now, clear_since=_clear(previous, use, now), baseline=baseline)


def look_at_host(
    previous: Mapping[str, Sight],
    report: DeviceReport,
    ours: Ours,
    now: float,
    *,
    idle_limit: int = IDLE_LIMIT,
) -> dict[str, Sight]:
    """The sights of one host's devices after a report; ``previous`` holds that host's alone.

    Where the probe knows nothing, and for a device that it no longer lists, the use is unknown.
    """
    seen = {
        d.id: look(previous.get(d.id), d, ours, now, idle_limit=idle_limit)
        for d in report.devices
        if report.probe is not ProbeKind.UNKNOWN
    }
    lost = report.problem if report.probe is ProbeKind.UNKNOWN else None
    why = lost or report.problem or "the probe no longer lists it"
    for device, sight in previous.items():
        if device not in seen:
            use = DeviceUse(use=Use.UNKNOWN, brief=why, reason=why)
            seen[device] = Sight(use=use, seen_at=now, clear_since=None, baseline=sight.baseline)
    return seen


def _baseline(previous: Sight | None, device: Device, idle_limit: int) -> int | None:
    """The least memory seen in use while no process was listed."""
    known = None if previous is None else previous.baseline
    used = device.memory_used
    if device.problem is not None or device.processes or used is None or used > idle_limit:
        return known
    return used if known is None else min(known, used)


def _clear(previous: Sight | None, use: DeviceUse, now: float) -> float | None:
    before = None if previous is None else previous.clear_since
    match use.use:
        case Use.FREE | Use.OURS:
            return now if before is None else before
        case Use.GHOST:
            # after a process of ours it is our own memory going away; else it may be a stranger's
            return before if previous is not None and _was_ours(previous) else None
        case _:
            return None


def _was_ours(sight: Sight) -> bool:
    return sight.use.use in (Use.OURS, Use.GHOST)


def memory_text(size: int) -> str:
    """``41 GiB``, ``1.5 GiB``, ``512 MiB``."""
    if size >= 10 * GIB:
        return f"{size / GIB:.0f} GiB"
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.0f} MiB"


def _user(process: DeviceProcess) -> str:
    if process.user is not None:
        return process.user
    return "a hidden user" if process.uid is None else f"uid {process.uid}"


def _by_user(strangers: tuple[DeviceProcess, ...]) -> str:
    held: dict[str, int] = {}
    for process in strangers:
        held[_user(process)] = held.get(_user(process), 0) + (process.memory_bytes or 0)
    return "; ".join(f"{user}, {memory_text(size)}" for user, size in held.items())


def _sentence(process: DeviceProcess, ours: Ours) -> str:
    name = "" if process.name is None else f" ({process.name})"
    held = "" if process.memory_bytes is None else f" holds {memory_text(process.memory_bytes)}"
    text = f"process {process.pid}{name} of {_user(process)}{held}"
    if process.pid in ours.anywhere():
        return f"{text}; it is a run of ours that leases another device"
    if process.uid == ours.uid:
        return f"{text}; it is yours, but no run of this home"
    return text
