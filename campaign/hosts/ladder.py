"""The kill ladder: which steps end a trainer, in which order, and when to give up.

The steps and their deadlines are here; processes and time are ports, so that the ladder is tested
in simulated time. Two others bring real ones: the shim, as the parent, and the reaper, where the
shim is dead. The intent is durable before the ladder begins: it is the order file.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from campaign.hosts.identity import Delivery, Identity

STUCK_AFTER = 120.0
"""Seconds of SIGKILL after which a process that still lives is reported instead of waited for."""

_TICK = 0.5
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1


class Processes(Protocol):
    """The processes of one attempt. None of these methods raises."""

    def leader_alive(self) -> bool: ...

    def terminate_leader(self) -> Delivery:
        """SIGTERM to the trainer alone: its workers must be there while it saves."""
        ...

    def kill_group(self) -> Delivery:
        """SIGKILL to the process group of the trainer, at once."""
        ...

    def members(self) -> Sequence[Identity]:
        """Every live process of the attempt, however far it ran from its parent."""
        ...

    def kill(self, member: Identity) -> Delivery: ...

    def describe(self, member: Identity) -> str: ...


class Clock(Protocol):
    def monotonic(self) -> float: ...

    def unix(self) -> float: ...

    def wait(self, seconds: float) -> None:
        """Return after ``seconds`` or as soon as something happened."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One step that was taken. ``at`` in unix seconds."""

    name: str
    at: float
    pids: tuple[int, ...] = ()
    result: str = ""
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "rung": self.name,
            "at": self.at,
            "pids": list(self.pids),
            "result": self.result,
            "detail": self.detail,
        }


class Outcome(StrEnum):
    GONE = "gone"
    STUCK = "stuck"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How the sweep ended: whom it killed, and who is left and why."""

    outcome: Outcome
    swept: tuple[int, ...] = ()
    left: tuple[str, ...] = ()


Record = Callable[[Rung], None]


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """One attempt's ladder. ``grace`` is asked again and again: a later order may shorten it.

    ``terminated_at``: unix seconds of a SIGTERM that an earlier, interrupted ladder delivered.
    """

    processes: Processes
    clock: Clock
    record: Record
    grace: Callable[[], float] = field(default=lambda: 0.0)
    terminated_at: float | None = None

    def climb(self) -> Ending:
        """SIGTERM to the leader, grace, SIGKILL to all, until nobody is left or somebody is stuck."""
        if self._terminate():
            self._wait_for_leader()
        return self.sweep()

    def sweep(self) -> Ending:
        """SIGKILL to the group, then to every member, again until none is found."""
        began = self.clock.monotonic()
        met = self._first_round()
        swept, refused, pause = set(met), dict[int, Delivery](), _FIRST_PAUSE
        while members := self.processes.members():
            if self.clock.monotonic() - began >= STUCK_AFTER:
                break
            for member in members:
                sent = self.processes.kill(member)
                if sent is Delivery.DELIVERED:
                    swept.add(member.pid)
                elif sent is not Delivery.GONE:
                    refused[member.pid] = sent
            self.clock.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        # written once, at the end: a write for every round would lend a fork bomb time
        if late := swept - met:
            self._note("sweep", pids=late, result=Delivery.DELIVERED)
        for pid, why in refused.items():
            self._note("sweep", pids={pid}, result=why)
        return self._ending(members, swept - refused.keys())

    def _first_round(self) -> set[int]:
        """SIGKILL to the whole group at once; everybody who was there then counts as killed."""
        members = self.processes.members()
        if members:
            sent = self.processes.kill_group()
            self._note("kill", pids={m.pid for m in members}, result=sent)
        return {member.pid for member in members}

    def _ending(self, members: Sequence[Identity], swept: set[int]) -> Ending:
        if not members:
            return Ending(outcome=Outcome.GONE, swept=tuple(sorted(swept)))
        left = tuple(self.processes.describe(member) for member in members)
        self._note("stuck", pids={m.pid for m in members}, detail="; ".join(left))
        return Ending(outcome=Outcome.STUCK, swept=tuple(sorted(swept)), left=left)

    def _terminate(self) -> bool:
        if self.terminated_at is not None:
            self._note("term", result="earlier", detail="it was told by the ladder before")
            return True
        sent = self.processes.terminate_leader()
        self._note("term", result=sent)
        return sent is Delivery.DELIVERED

    def _wait_for_leader(self) -> None:
        began = self.clock.monotonic()
        if self.terminated_at is not None:  # never longer than a fresh grace: the clock may jump
            began -= max(0.0, self.clock.unix() - self.terminated_at)
        while self.processes.leader_alive():
            left = began + self.grace() - self.clock.monotonic()
            if left <= 0:
                self._note("grace", result="over", detail=f"{self.grace():g} s are over")
                return
            self.clock.wait(min(left, _TICK))
        self._note("grace", result="left", detail="the trainer left by itself")

    def _note(
        self, name: str, *, pids: Iterable[int] = (), result: str = "", detail: str = ""
    ) -> None:
        self.record(
            Rung(
                name=name,
                at=self.clock.unix(),
                pids=tuple(sorted(pids)),
                result=str(result),
                detail=detail,
            )
        )
