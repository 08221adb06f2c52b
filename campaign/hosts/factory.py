"""This machine as a host: the probe that suits it, and what its configuration files say."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from campaign import config
from campaign.gpus import refs
from campaign.gpus.inventory import probe_for
from campaign.hosts import identity
from campaign.hosts.local import LocalHost
from campaign.hosts.port import Cursor, Host, HostFacts, Launch, Observation, Order


def host_name() -> str:
    """The short name of this machine: what ``hosta:1`` in a spec refers to."""
    return socket.gethostname().split(".")[0].lower()


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


class SiteHost:
    """A host that also tells which devices its configuration excludes and which processes are ours.

    The files are read at every look: an exclusion written while the plane is up holds from then on.
    """

    def __init__(self, host: Host, home: Path, name: str) -> None:
        self._host = host
        self._home = home
        self._name = name

    def describe(self) -> HostFacts:
        facts = self._host.describe()
        excluded: Mapping[str, str] = {}
        misconfigured: tuple[str, ...] = ()
        try:
            settings = config.load(self._home, host=self._name)
            excluded = refs.excluded(facts.devices.devices, settings.exclusions)
        except config.ConfigError as error:
            # the host is well and what runs there goes on; what it may start is not known
            misconfigured = error.problems
        return facts.model_copy(
            update={
                "excluded": excluded,
                "misconfigured": misconfigured,
                "cookies": identity.cookies(),
                "uid": os.getuid(),
            }
        )

    def start(self, launch: Launch) -> None:
        self._host.start(launch)

    def order(self, directory: str, order: Order) -> None:
        self._host.order(directory, order)

    def observe(self, cursors: Mapping[str, Cursor]) -> Sequence[Observation]:
        return self._host.observe(cursors)

    def reap(self, directory: str, order: Order) -> None:
        self._host.reap(directory, order)

    def keep(self, directory: str, steps: Sequence[int]) -> None:
        self._host.keep(directory, steps)

    def prove_unstarted(self, directory: str) -> bool:
        return self._host.prove_unstarted(directory)


def local_host(home: Path, *, name: str | None = None, cpu_slots: int | None = None) -> Host:
    """This machine, with its own configuration."""
    name = name or host_name()
    inner = LocalHost(
        home,
        probe=probe_for(name, os.environ),
        cpu_slots=usable_cpus() if cpu_slots is None else cpu_slots,
        name=name,
        probe_argv=(sys.executable, "-P", "-m", "campaign.gpus.inventory", name),
    )
    return SiteHost(inner, home, name)
