"""The leases of Ray: one detached placement group for each, so that Ray refuses a double booking too."""

from __future__ import annotations

import time
from collections.abc import Mapping

import ray
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from campaign.gpus.offer import resource_name
from campaign.hosts.leaser import LeaseRefused

LEASE_DEADLINE = 20.0
STALE_AFTER = 5.0
LOOK_EVERY = 0.01
_LEASE = "lease:"


class RayLeaser:
    """A detached placement group for each live lease."""

    def lease(self, directory: str, host: str, devices: tuple[str, ...]) -> None:
        """Raises LeaseRefused if no node declares the devices, or if Ray does not give them."""
        name = _lease_name(directory)
        if _find_group(name) is not None:
            return
        wanted = {resource_name(d): 1.0 for d in devices}
        total: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if missing := sorted(set(wanted) - set(total)):
            raise LeaseRefused(
                f"no Ray node declares {', '.join(missing)}; start the node of {host} with "
                '`ray start --resources="$(campaign gpus --ray-resources)"`'
            )
        _await_free(wanted)
        group = placement_group([wanted], strategy="STRICT_PACK", name=name, lifetime="detached")
        if not group.wait(LEASE_DEADLINE):
            remove_placement_group(group)
            raise _not_given(wanted)

    def release(self, directory: str) -> None:
        release_group(_lease_name(directory))


def _await_free(wanted: Mapping[str, float]) -> None:
    """Wait until Ray counts the devices as free: a release reaches it with its node's next report.

    A group that is asked for before that waits for a timer of Ray that ticks once a second.
    """
    until = time.monotonic() + LEASE_DEADLINE
    stale_after = time.monotonic() + STALE_AFTER
    while time.monotonic() < until:
        free: Mapping[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        if all(free.get(name, 0.0) >= amount for name, amount in wanted.items()):
            return
        if time.monotonic() > stale_after:
            _drop_holders(wanted)
            stale_after = until
        time.sleep(LOOK_EVERY)
    raise _not_given(wanted)


def _drop_holders(wanted: Mapping[str, float]) -> None:
    """End leases of ours on these devices: their release was lost. The store knows them to be free."""
    for row in placement_group_table().values():
        bundles = row["bundles"].values()
        held = {name for bundle in bundles for name in bundle}
        if row["name"].startswith(_LEASE) and held & set(wanted):
            release_group(row["name"])


def release_group(name: str) -> None:
    if (group := _find_group(name)) is not None:
        remove_placement_group(group)


def _not_given(wanted: Mapping[str, float]) -> LeaseRefused:
    return LeaseRefused(f"Ray did not give {', '.join(wanted)} within {LEASE_DEADLINE:.0f} s")


def _lease_name(directory: str) -> str:
    return f"{_LEASE}{directory}"


def _find_group(name: str) -> PlacementGroup | None:
    try:
        found: PlacementGroup = get_placement_group(name)
    except ValueError:
        return None
    return found
