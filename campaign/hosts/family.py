"""Who belongs to an attempt: ladder.Processes for the parent, and for one that is not the parent.

Standard library only.
"""

from __future__ import annotations

import os
import signal
import time

from campaign.hosts import identity
from campaign.hosts.child import Child
from campaign.hosts.identity import Delivery, Identity


class Family:
    """As the shim sees it: the trainer, what descends from it, and whatever carries its cookie."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def leader_alive(self) -> bool:
        return not self._child.exited()

    def terminate_leader(self) -> Delivery:
        return self._child.signal(signal.SIGTERM)

    def kill_group(self) -> Delivery:
        return self._child.kill_group()

    def members(self) -> list[Identity]:
        """Orphans are found too: the shim is their subreaper, so that they still descend from it."""
        found = {m.pid: m for m in identity.carriers(self._child.identity.cookie or "")}
        found |= {m.pid: m for m in identity.descendants([os.getpid()])}
        return list(found.values())

    def kill(self, member: Identity) -> Delivery:
        return identity.send(member, signal.SIGKILL)

    def describe(self, member: Identity) -> str:
        return describe(member)


class Survivors:
    """What a dead shim left behind: its trainer by identity, the rest by cookie and descent.

    Descent ends at a dead parent, so everybody who was ever seen is remembered, and looked for at
    every step while the trainer lives. A process that cleared its environment and lost its parent
    before the first look cannot be found.
    """

    def __init__(self, cookie: str, leader: Identity | None) -> None:
        self._cookie = cookie
        self._leader = leader
        self._seen: dict[tuple[int, int], Identity] = {}

    def leader_alive(self) -> bool:
        self.members()
        return self._leader is not None and identity.matches(self._leader)

    def terminate_leader(self) -> Delivery:
        if self._leader is None:
            return Delivery.GONE
        self.members()
        return identity.send(self._leader, signal.SIGTERM)

    def kill_group(self) -> Delivery:
        """Without a kernel that signals a group through a pidfd, the sweep reaches each alone."""
        if self._leader is None:
            return Delivery.GONE
        return identity.send(self._leader, signal.SIGKILL, group=True)

    def members(self) -> list[Identity]:
        found = identity.carriers(self._cookie)
        self._remember(found)
        alive = [member for member in self._seen.values() if identity.is_alive(member)]
        below = identity.descendants([member.pid for member in alive]) if alive else []
        self._remember([member for member in below if member.pid != os.getpid()])
        return [member for member in self._seen.values() if identity.is_alive(member)]

    def kill(self, member: Identity) -> Delivery:
        return identity.send(member, signal.SIGKILL)

    def describe(self, member: Identity) -> str:
        return describe(member)

    def wait(self, seconds: float) -> None:
        """Until the leader ends or the time is over."""
        if self._leader is not None and identity.is_alive(self._leader):
            identity.wait_gone(self._leader, seconds)
        else:
            time.sleep(seconds)

    def _remember(self, found: list[Identity]) -> None:
        for member in found:
            self._seen.setdefault((member.pid, member.start_ticks), member)


def describe(member: Identity) -> str:
    """One sentence about a process that does not die."""
    found = identity.stat(member.pid)
    if found is None or found.start_ticks != member.start_ticks:
        return f"process {member.pid} is gone"
    if found.state != "D":
        return f"process {member.pid} ({found.name}) is in state {found.state}"
    try:
        place = (identity.PROC / str(member.pid) / "wchan").read_text().strip(
            "0\n "
        ) or "the kernel"
    except OSError:  # not shown to us
        place = "the kernel"
    return (
        f"process {member.pid} ({found.name}) is in uninterruptible sleep (D) in {place}; "
        "a reboot may be needed"
    )
