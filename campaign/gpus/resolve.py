"""What a run's `resources` mean on the hosts that are known, and what is wrong with them.

All problems are found at once; each has the path of its field, so that the loader can give file, line
and column, and its row in the table of bad inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from campaign.gpus.probe import Device, DeviceKind
from campaign.gpus.refs import (
    BadRef,
    Exclusion,
    Ref,
    among,
    excluded,
    find,
    is_slice,
    known,
    parse,
    slices_of,
)
from specs.resources import Resources


class Row(IntEnum):
    """Rows of the table of bad inputs."""

    TOO_MANY = 51
    PINNED_AND_EXCLUDED = 52
    UNKNOWN = 53
    AMBIGUOUS = 54
    DUPLICATE = 55
    MIG_MODE = 56


@dataclass(frozen=True, kw_only=True)
class Problem:
    """``path`` is relative to `resources`. A warning is what a host not known yet could still mend."""

    row: Row
    path: tuple[str | int, ...]
    message: str
    hint: str
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """``pin`` and ``exclude``: ids of known devices. ``exclusions`` are what stays in force for devices
    seen later; ``unresolved`` are pins that do not name exactly one known device: never read a run
    with such pins as unpinned.
    """

    pin: tuple[str, ...]
    exclude: frozenset[str]
    exclusions: tuple[Exclusion, ...]
    unresolved: tuple[Ref, ...]
    problems: tuple[Problem, ...]


SPEC = "resources.exclude"


def resolve(
    resources: Resources,
    devices: Sequence[Device],
    site: Sequence[Exclusion] = (),
    *,
    complete: bool = True,
) -> Resolved:
    """The devices that a run may and may not have.

    ``site`` are the exclusions of the configuration files, which nothing overrides. ``complete``:
    whether ``devices`` are those of all hosts; else what names nothing known is a warning.
    """
    pins, pin_problems = _field("pin", resources, devices, complete)
    exclude, exclude_problems = _field("exclude", resources, devices, complete)
    own = tuple(Exclusion(ref=entry.ref, origin=SPEC) for entry in exclude)
    barred = excluded(devices, (*site, *own))
    problems = [
        *pin_problems,
        *exclude_problems,
        *_twice("pin", pins),
        *_twice("exclude", exclude),
        *_barred_pins(pins, barred),
        *_mig_pins(pins, devices),
        *_hosts(resources, devices, complete),
    ]
    if not problems:  # a count over names that are wrong would say the same thing twice
        problems += _too_many(resources, devices, pins, barred, complete)
    return Resolved(
        pin=tuple(entry.device.id for entry in pins if entry.device is not None),
        exclude=frozenset(barred),
        exclusions=own,
        unresolved=tuple(entry.ref for entry in pins if entry.device is None),
        problems=tuple(problems),
    )


@dataclass(frozen=True, kw_only=True)
class Named:
    """One entry of `pin` or `exclude`: where it stands, and the one device that it means, if known."""

    position: int
    ref: Ref
    device: Device | None


Found = list[Named]


def _field(
    field: Literal["pin", "exclude"],
    resources: Resources,
    devices: Sequence[Device],
    complete: bool,
) -> tuple[Found, list[Problem]]:
    """The entries that can be read, and what is wrong with the field."""
    found: Found = []
    problems: list[Problem] = []
    for position, text in enumerate(getattr(resources, field)):
        path = (field, position)
        try:
            ref = parse(text)
        except BadRef as error:
            hint = "write for example 2, GPU-1f0c, or hostb:2"
            problems.append(Problem(row=Row.UNKNOWN, path=path, message=str(error), hint=hint))
            continue
        candidates = find(ref, among(text, devices, resources.hosts))
        if not candidates:
            problems.append(_unknown(path, ref, devices, complete))
        elif len(candidates) > 1:
            problems.append(_ambiguous(path, ref, candidates))
        only = candidates[0] if len(candidates) == 1 else None
        found.append(Named(position=position, ref=ref, device=only))
    return found, problems


def _ambiguous(path: tuple[str, int], ref: Ref, candidates: Sequence[Device]) -> Problem:
    return Problem(
        row=Row.AMBIGUOUS,
        path=path,
        message=f"{ref} may mean {len(candidates)} GPUs: {known(candidates)}",
        hint="write more of the UUID, or the host before it, as in hostb:2",
    )


def _unknown(path: tuple[str, int], ref: Ref, devices: Sequence[Device], complete: bool) -> Problem:
    later = "" if complete else "; not all hosts are known yet, so the run waits for it"
    return Problem(
        row=Row.UNKNOWN,
        path=path,
        message=f"{ref} is no known GPU{later}",
        hint=f"known: {known(devices)}",
        warning=not complete,
    )


def _twice(field: str, found: Found) -> Iterable[Problem]:
    first: dict[str, Ref] = {}
    for entry in found:
        ref, device = entry.ref, entry.device
        if device is None:
            continue
        if device.id in first:
            yield Problem(
                row=Row.DUPLICATE,
                path=(field, entry.position),
                message=f"{first[device.id]} and {ref} are the same GPU, {device.id}",
                hint="leave one of them out",
            )
        first.setdefault(device.id, ref)


def _barred_pins(pins: Found, barred: dict[str, str]) -> Iterable[Problem]:
    for entry in pins:
        ref, device = entry.ref, entry.device
        if device is not None and device.id in barred:
            who = barred[device.id]
            yield Problem(
                row=Row.PINNED_AND_EXCLUDED,
                path=("pin", entry.position),
                message=f"{ref} is pinned, and excluded by {who}",
                hint="pin another GPU"
                + (", or take it out of exclude" if who.endswith(SPEC) else ""),
            )


def _mig_pins(pins: Found, devices: Sequence[Device]) -> Iterable[Problem]:
    for entry in pins:
        ref, device = entry.ref, entry.device
        if device is None or is_slice(device) or not (slices := slices_of(device, devices)):
            continue
        yield Problem(
            row=Row.MIG_MODE,
            path=("pin", entry.position),
            message=f"{ref} is a whole GPU in MIG mode, which cannot be used as one",
            hint=f"pin its slices: {', '.join(s.id for s in slices)}",
        )


def _hosts(resources: Resources, devices: Sequence[Device], complete: bool) -> Iterable[Problem]:
    names = sorted({d.host for d in devices})
    for position, host in enumerate(resources.hosts):
        if host not in names:
            yield Problem(
                row=Row.UNKNOWN,
                path=("hosts", position),
                message=f"{host} is no known host",
                hint=f"known: {', '.join(names) or 'none yet'}",
                warning=not complete,
            )


def _too_many(
    resources: Resources,
    devices: Sequence[Device],
    pins: Found,
    barred: dict[str, str],
    complete: bool,
) -> Iterable[Problem]:
    """A run is never split over hosts, so one host must have all that it needs."""
    kind = DeviceKind.GPU if resources.gpus else DeviceKind.CPU
    pinned = {entry.device.id for entry in pins if entry.device is not None}
    counts: dict[str, int] = {}
    for device in devices:
        counts.setdefault(device.host, 0)
        allowed = device.kind is kind and (not resources.hosts or device.host in resources.hosts)
        whole = is_slice(device) or not slices_of(device, devices)
        if allowed and whole and device.id not in barred and (not pinned or device.id in pinned):
            counts[device.host] += 1
    need = resources.gpus or resources.cpus
    if kind is DeviceKind.CPU and not any(d.kind is kind for d in devices):
        return  # CPU slots are not part of what was looked at
    if need > max(counts.values(), default=0):
        yield _too_many_problem(resources, counts, complete)


def _too_many_problem(resources: Resources, counts: dict[str, int], complete: bool) -> Problem:
    field, what = ("gpus", "GPUs") if resources.gpus else ("cpus", "CPU slots")
    need = resources.gpus or resources.cpus
    most = ", ".join(f"{host} has {count}" for host, count in sorted(counts.items()))
    return Problem(
        row=Row.TOO_MANY,
        path=(field,),
        message=f"{field} is {need}, and no host has so many {what} that this run may use: "
        + (most or "no host is known"),
        hint="a run is never split over hosts: ask for fewer, or lift an exclusion, pin or host",
        warning=not complete,
    )
