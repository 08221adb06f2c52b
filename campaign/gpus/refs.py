"""How people name a device: index, UUID or its beginning, each with or without a host before it.

    2   GPU-1f0c…   1f0c   hostb:2   hostb:1f0c   MIG-77aa…

Upper and lower case are the same, ``GPU-`` and ``MIG-`` may be left out. A number alone is always an
index; a UUID's beginning that consists of digits needs its ``GPU-``. An index names a whole GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from campaign.gpus.probe import Device, DeviceKind

_UUID = re.compile(r"(?:(gpu|mig)-)?([0-9a-f][0-9a-f-]*)")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
GRAMMAR = "an index, a UUID, the beginning of a UUID, or one of these after `host:`"


class BadRef(ValueError):
    """What was written cannot name a device."""


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A parsed reference: either ``index`` or ``uuid`` (lower case, no ``gpu-``) is set."""

    text: str
    host: str | None = None
    index: int | None = None
    family: str | None = None  # "gpu" or "mig", where it was written
    uuid: str | None = None

    def names(self, device: Device) -> bool:
        """Whether the device is one that this reference may mean."""
        if device.kind is not DeviceKind.GPU or self.host not in (None, device.host.lower()):
            return False
        family, _, uuid = device.id.lower().partition("-")
        if self.index is not None:
            return family == "gpu" and device.index == self.index
        return self.family in (None, family) and uuid.startswith(self.uuid or "")

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """A reference to devices that must not be used, and the file that says so."""

    ref: Ref
    origin: str

    def __str__(self) -> str:
        return f"{self.ref} in {self.origin}"


def parse(written: int | str) -> Ref:
    """The reference that was written; raises BadRef."""
    text = str(written).strip()
    host, colon, rest = text.lower().rpartition(":")
    if colon and not _HOST.fullmatch(host):
        raise BadRef(f"{text!r}: {host!r} is no host name; a device is {GRAMMAR}")
    place = host or None
    if rest.isascii() and rest.isdigit():
        return Ref(text=text, host=place, index=int(rest))
    if match := _UUID.fullmatch(rest):
        return Ref(text=text, host=place, family=match[1], uuid=match[2])
    raise BadRef(f"{text!r} names no device; a device is {GRAMMAR}")


def at_host(ref: Ref, host: str) -> Ref:
    """The reference, with a bare index bound to the host on which it was written."""
    if ref.index is None or ref.host is not None:
        return ref
    return Ref(text=f"{host}:{ref.index}", host=host.lower(), index=ref.index)


def find(ref: Ref, devices: Iterable[Device]) -> tuple[Device, ...]:
    """The devices that the reference may mean; a UUID written out in full means that one alone."""
    found = tuple(d for d in devices if ref.names(d))
    exact = tuple(d for d in found if d.id.lower().partition("-")[2] == ref.uuid)
    return exact or found


def among(
    written: int | str, devices: Iterable[Device], hosts: Sequence[str]
) -> tuple[Device, ...]:
    """The devices that a reference in a run's spec is looked for among: a bare index is meant on the
    ``hosts`` that the run allows, if it names any.
    """
    text = str(written).strip()
    bare = text.isascii() and text.isdigit()
    return tuple(d for d in devices if not (bare and hosts) or d.host in hosts)


def excluded(devices: Sequence[Device], exclusions: Iterable[Exclusion]) -> dict[str, str]:
    """Device id -> who excludes it. All that an exclusion may mean is excluded, so that one which is
    ambiguous, or names a device not seen yet, holds; with a GPU in MIG mode go its slices.
    """
    found: dict[str, str] = {}
    for exclusion in exclusions:
        covered = list(find(exclusion.ref, devices))
        whole = {(d.host, d.index) for d in covered if not is_slice(d)}
        if exclusion.ref.index is not None:
            whole |= {(d.host, d.index) for d in devices if _slice_of(exclusion.ref, d)}
        covered += [d for d in devices if is_slice(d) and (d.host, d.index) in whole]
        for device in covered:
            found.setdefault(device.id, str(exclusion))
    return found


def unmatched(devices: Sequence[Device], exclusions: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    """Exclusions that name no device known now. They stay in force."""
    return tuple(e for e in exclusions if not excluded(devices, (e,)))


def is_slice(device: Device) -> bool:
    """Whether the device is a MIG slice."""
    return device.id.lower().startswith("mig-")


def slices_of(gpu: Device, devices: Iterable[Device]) -> tuple[Device, ...]:
    """The MIG slices of a GPU that are known; empty unless it is in MIG mode."""
    return tuple(d for d in devices if is_slice(d) and (d.host, d.index) == (gpu.host, gpu.index))


def known(devices: Iterable[Device], most: int = 8) -> str:
    """The GPUs there are, as a user may name them: for messages."""
    gpus = sorted(
        (d for d in devices if d.kind is DeviceKind.GPU), key=lambda d: (d.host, d.index, d.id)
    )
    if not gpus:
        return "no GPU is known"
    shown = [_label(d) for d in gpus[:most]]
    rest = [] if len(gpus) <= most else [f"{len(gpus) - most} more"]
    return ", ".join(shown + rest)


def _label(device: Device) -> str:
    short = device.id[:12] + ("…" if len(device.id) > 12 else "")
    return short if is_slice(device) else f"{device.host}:{device.index} ({short})"


def _slice_of(ref: Ref, device: Device) -> bool:
    """Whether the device is a slice of the GPU of that index, even if the GPU itself is not listed."""
    at_place = ref.host in (None, device.host.lower())
    return is_slice(device) and at_place and device.index == ref.index
