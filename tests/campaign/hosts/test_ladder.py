"""The ladder in simulated time: no process, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.hosts.identity import Delivery, Identity
from campaign.hosts.ladder import STUCK_AFTER, Ending, Ladder, Outcome, Rung

LEADER = 1
NEVER = float("inf")


def who(pid: int) -> Identity:
    return Identity(boot_id="b", pid=pid, start_ticks=pid)


@dataclass
class World:
    """Processes that die so many seconds after a signal, and a clock that only waiting moves."""

    dies_of_term_after: float = NEVER
    in_group: dict[int, float] = field(default_factory=dict)  # pid -> seconds to die of SIGKILL
    outside: dict[int, float] = field(default_factory=dict)
    forks: int = 0  # processes outside that appear when the first of them is killed
    answer: Delivery = Delivery.DELIVERED
    time: float = 1000.0
    signals: list[tuple[str, int, float]] = field(default_factory=list)
    deaths: dict[int, float] = field(default_factory=dict)

    def _alive(self, pid: int) -> bool:
        return self.time < self.deaths.get(pid, NEVER)

    def _doom(self, pid: int, after: float) -> None:
        self.deaths[pid] = min(self.deaths.get(pid, NEVER), self.time + after)

    def leader_alive(self) -> bool:
        return self._alive(LEADER)

    def terminate_leader(self) -> Delivery:
        if not self.leader_alive():
            return Delivery.GONE
        if self.answer is Delivery.DELIVERED:
            self.signals.append(("term", LEADER, self.time))
            self._doom(LEADER, self.dies_of_term_after)
        return self.answer

    def kill_group(self) -> Delivery:
        for pid, after in self.in_group.items():
            self.signals.append(("kill", pid, self.time))
            self._doom(pid, after)
        return Delivery.DELIVERED

    def members(self) -> list[Identity]:
        return [who(p) for p in (*self.in_group, *self.outside) if self._alive(p)]

    def kill(self, member: Identity) -> Delivery:
        if not self._alive(member.pid):
            return Delivery.GONE
        self.signals.append(("kill", member.pid, self.time))
        self._doom(member.pid, {**self.in_group, **self.outside}[member.pid])
        while self.forks:
            self.forks -= 1
            self.outside[100 + self.forks] = 0.0
        return Delivery.DELIVERED

    def describe(self, member: Identity) -> str:
        return f"process {member.pid} is in uninterruptible sleep (D)"

    def monotonic(self) -> float:
        return self.time

    def unix(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


def climb(
    world: World, *, grace: Callable[[], float] = lambda: 30.0, terminated_at: float | None = None
) -> tuple[Ending, list[Rung]]:
    rungs: list[Rung] = []
    ladder = Ladder(
        processes=world,
        clock=world,
        record=rungs.append,
        grace=grace,
        terminated_at=terminated_at,
    )
    return ladder.climb(), rungs


def kills(world: World) -> dict[int, float]:
    return {pid: at for name, pid, at in reversed(world.signals) if name == "kill"}


def test_a_trainer_that_leaves_is_never_killed() -> None:
    world = World(in_group={LEADER: 0.0}, dies_of_term_after=3.0)
    ending, rungs = climb(world)
    assert ending == Ending(outcome=Outcome.GONE)
    assert world.signals == [("term", LEADER, 1000.0)]
    assert [r.name for r in rungs] == ["term", "grace"]


def test_sigterm_goes_to_the_leader_alone() -> None:
    """A worker that dies first would make the trainer fail in the middle of its save."""
    world = World(in_group={LEADER: 0.0, 2: 0.0}, outside={3: 0.0}, dies_of_term_after=3.0)
    climb(world)
    assert [s for s in world.signals if s[0] == "term"] == [("term", LEADER, 1000.0)]
    assert all(at >= 1003.0 for at in kills(world).values())


@given(grace=st.floats(0.0, 600.0))
def test_nobody_is_killed_before_the_grace_is_over_and_nobody_long_after(grace: float) -> None:
    world = World(in_group={LEADER: 0.0, 2: 0.0}, outside={3: 0.0})
    ending, _ = climb(world, grace=lambda: grace)
    assert set(kills(world)) == {LEADER, 2, 3}
    assert all(-1e-6 <= at - 1000.0 - grace <= 1.0 for at in kills(world).values())
    assert ending == Ending(outcome=Outcome.GONE, swept=(1, 2, 3))


def test_a_grace_that_is_shortened_meanwhile_ends_at_once() -> None:
    world = World(in_group={LEADER: 0.0})
    climb(world, grace=lambda: 600.0 if world.time < 1010.0 else 0.0)
    assert kills(world)[LEADER] <= 1011.0


@pytest.mark.parametrize("since", [10.0, 29.5])
def test_an_interrupted_ladder_goes_on_without_a_second_sigterm(since: float) -> None:
    world = World(in_group={LEADER: 0.0})
    _, rungs = climb(world, terminated_at=1000.0 - since)
    assert [s for s in world.signals if s[0] == "term"] == []
    assert kills(world)[LEADER] == pytest.approx(1000.0 + 30.0 - since, abs=0.6)
    assert rungs[0].result == "earlier"


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumped_neither_prolongs_the_grace_nor_loses_the_ladder(jump: float) -> None:
    world = World(in_group={LEADER: 0.0})
    climb(world, terminated_at=1000.0 + jump)
    assert kills(world)[LEADER] <= 1031.0


def test_who_appears_during_the_sweep_is_swept_too() -> None:
    world = World(in_group={LEADER: 0.0}, outside={3: 0.0}, forks=20)
    ending, rungs = climb(world, grace=lambda: 0.0)
    assert len(ending.swept) == 22
    assert world.members() == []
    assert [r.name for r in rungs] == ["term", "grace", "kill", "sweep"]


def test_a_process_that_does_not_die_is_reported_and_not_waited_for_for_ever() -> None:
    world = World(in_group={LEADER: 0.0, 2: NEVER})
    ending, rungs = climb(world, grace=lambda: 5.0)
    assert ending.outcome is Outcome.STUCK
    assert ending.left == ("process 2 is in uninterruptible sleep (D)",)
    assert STUCK_AFTER <= world.time - 1005.0 <= STUCK_AFTER + 1.0
    assert (rungs[-1].name, rungs[-1].pids) == ("stuck", (2,))


@pytest.mark.parametrize("answer", [Delivery.OTHER, Delivery.DENIED, Delivery.GONE])
def test_where_sigterm_does_not_arrive_no_grace_is_given(answer: Delivery) -> None:
    world = World(in_group={LEADER: 0.0}, answer=answer)
    _, rungs = climb(world)
    assert rungs[0].result == answer
    assert kills(world)[LEADER] == 1000.0


def test_where_nobody_is_left_nothing_is_signalled() -> None:
    world = World(in_group={LEADER: 0.0}, deaths={LEADER: 0.0})
    ending, rungs = climb(world)
    assert (world.signals, ending) == ([], Ending(outcome=Outcome.GONE))
    assert [r.name for r in rungs] == ["term"]
