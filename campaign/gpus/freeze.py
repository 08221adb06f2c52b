"""Device references of a run, taken once for the devices that they mean and kept from then on. Pure.

An index says which GPU only as long as no other host joins and no driver counts anew: so what was
written is turned into full ids at the first moment at which the devices are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from campaign.gpus.probe import Device
from campaign.gpus.refs import BadRef, among, find, known, parse
from specs.resources import DeviceRef, Resources


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """``ids``: reference as written -> full id, old ones and new ones. ``new``: what was found now, in
    sentences; ``problems``: references that may mean several devices."""

    ids: Mapping[str, str]
    new: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Found:
    ids: dict[str, str]
    new: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def freeze(resources: Resources, devices: Sequence[Device], ids: Mapping[str, str]) -> Frozen:
    """``ids`` and what the others of the run's references mean now; one that names no known device
    stays open."""
    found = _Found(ids=dict(ids))
    for name, written in (("pin", resources.pin), ("exclude", resources.exclude)):
        for ref in written:
            if key_of(ref) not in found.ids:
                _take(name, ref, among(ref, devices, resources.hosts), found)
    return Frozen(ids=found.ids, new=tuple(found.new), problems=tuple(found.problems))


def _take(name: str, written: DeviceRef, devices: Iterable[Device], found: _Found) -> None:
    key = key_of(written)
    try:
        candidates = find(parse(written), devices)
    except BadRef as error:
        found.problems.append(f"{name} {error}")
        return
    if len(candidates) > 1:
        hint = "write the host before it, or more of the UUID"
        found.problems.append(f"{name} {key} may mean {known(candidates)}: {hint}")
    elif candidates:
        found.ids[key] = candidates[0].id
        if key.lower() != candidates[0].id.lower():
            found.new.append(f"{name} {key} = {candidates[0].id}")


def frozen(resources: Resources, ids: Mapping[str, str]) -> Resources:
    """The resources with full ids in the place of what was written, as far as they are known."""

    def told(written: Sequence[DeviceRef]) -> tuple[DeviceRef, ...]:
        return tuple(ids.get(key_of(ref), ref) for ref in written)

    return resources.model_copy(
        update={"pin": told(resources.pin), "exclude": told(resources.exclude)}
    )


def key_of(written: DeviceRef) -> str:
    return str(written).strip()
