"""Which hosts and devices there are, for a client: as the controller saw them, or this host afresh."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from campaign import config, control
from campaign.devices import DeviceRow, Holdings, Seen, device_rows, host_problems
from campaign.gpus.offer import declared
from campaign.home import Home
from campaign.hosts.factory import host_name, local_host
from campaign.hosts.port import HostFacts
from campaign.preparing import Known
from campaign.views import Reader


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """``problems``: of hosts and probes. ``probes``: host -> who looked (real, none, fake, unknown)."""

    rows: tuple[DeviceRow, ...]
    problems: tuple[str, ...]
    probes: Mapping[str, str]

    @property
    def simulated(self) -> bool:
        """Whether devices come from a script."""
        return "fake" in self.probes.values()


def known_hosts(home: Home, *, probe: bool) -> Known:
    """The hosts that a controller has seen; where none has, this one if it may be asked (``probe``)."""
    with Reader(home.store) as reader:
        recorded = reader.hosts()
    if recorded:
        return Known(hosts=tuple(_facts(record) for record in recorded), complete=True)
    if not probe:
        return Known()
    return Known(hosts=(here(home),), complete=config.load(home.root).settings.ray.address is None)


FIRST_LOOK = 20.0
"""Seconds that a controller is given to see its first host."""

_LOOK_EVERY = 0.1


def gpus(home: Home, *, tell: Callable[[str], None] = lambda _: None) -> Gpus:
    """Every device: who has it, or why nobody may. Without a controller this host is asked afresh; a
    configuration that cannot be read is one of the problems. A controller that is only starting is
    waited for, and ``tell`` is told so."""
    first = _first_look(home, tell)
    with Reader(home.store) as reader:
        seen = {record["name"]: _seen(record) for record in reader.hosts()}
        holdings = Holdings(
            leases=reader.leases(), quarantines=reader.quarantines(), cookies=reader.cookies()
        )
    name = host_name()
    unread: tuple[str, ...] = ()
    if control.running(home) is None and (not seen or name in seen):
        seen[name] = Seen(facts=here(home), at=time.time(), up=True)
    elif control.running(home) is None:
        unread = _unread(home)
    rows = tuple(device_rows(seen.values(), holdings))
    return Gpus(
        rows=rows,
        problems=(*first, *host_problems(seen.values()), *unread),
        probes={name: host.facts.devices.probe.value for name, host in seen.items()},
    )


def _first_look(home: Home, tell: Callable[[str], None]) -> tuple[str, ...]:
    """Wait until a controller that runs has seen a host; a sentence where it has not in time."""
    until = time.monotonic() + FIRST_LOOK
    told = False
    while control.running(home) is not None:
        with Reader(home.store) as reader:
            if reader.hosts():
                return ()
        if time.monotonic() > until:
            log = home.controller_log
            return (f"the controller has seen no host in {FIRST_LOOK:.0f} s; its log: {log}",)
        if not told:
            tell("the controller is only starting: waiting for its first look at the devices")
        told = True
        time.sleep(_LOOK_EVERY)
    return ()


def ray_resources(home: Home) -> dict[str, int]:
    """What a Ray node on this host is to declare: ``ray start --resources=...``. Raises ConfigError."""
    config.load(home.root)  # an exclusion that cannot be read would be declared
    facts = here(home)
    return declared(facts.devices, facts.excluded)


def here(home: Home) -> HostFacts:
    """This host, asked now; it says itself where its configuration cannot be read."""
    slots = None if _unread(home) else config.load(home.root).settings.home.cpu_slots
    return local_host(home.root, cpu_slots=slots).describe()


def _unread(home: Home) -> tuple[str, ...]:
    """What is wrong with the configuration files."""
    try:
        config.load(home.root)
    except config.ConfigError as error:
        return error.problems
    return ()


def _facts(record: Mapping[str, Any]) -> HostFacts:
    return HostFacts.model_validate(record["facts"])


def _seen(record: Mapping[str, Any]) -> Seen:
    return Seen(facts=_facts(record), at=record["seen_at"], up=record["up"])
