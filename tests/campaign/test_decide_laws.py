"""Laws of the decider over histories that nobody thought of: the same fact twice is once, and what does not
concern a run does not change what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from campaign import events as e
from campaign.decide import decide
from campaign.records import AttemptId
from campaign.state import State
from tests.campaign.worlds import ROLLBACK, World, campaign, host, spec, verdict

RUNS = ("a", "b", "w")
RUNNING = ("starting", "running", "stopping")

Move = tuple[str, str]
"""(what happens, to which run)"""


def crash(world: World, name: str) -> None:
    world.exits(name, 1)


def end(world: World, name: str) -> None:
    world.exits(name)


def vanish(world: World, name: str) -> None:
    world.exits(name, None, signal=9)


def kill(world: World, name: str) -> None:
    world.exits(name, None, signal=15, watch=[verdict("rollback", onset=25, end=40)])


def live(world: World, name: str) -> None:
    world.see(name)


def save(world: World, name: str) -> None:
    world.checkpoints(name, 10, 20, certified=(10,))


def cancel(world: World, name: str) -> None:
    world.tell(stop(name))


LIVES: dict[str, Callable[[World, str], None]] = {
    "crash": crash, "end": end, "vanish": vanish, "kill": kill, "live": live, "save": save,
}  # fmt: skip
histories = st.lists(
    st.tuples(st.sampled_from([*LIVES, "cancel", "tick"]), st.sampled_from(RUNS)), max_size=8
)


def stop(name: str) -> e.StopRequested:
    return e.StopRequested(runs=(("c", name),), kill=False, by="user", reason="enough")


def specs(names: Iterable[str] = RUNS) -> dict[str, Any]:
    watched = {"watch": [ROLLBACK], "retry": {"crashes": 1}}
    return {name: spec(**watched) for name in names}


def lived(history: Sequence[Move], *, slots: int = len(RUNS)) -> World:
    """A world after a history; what cannot happen to a run as it is, is passed over."""
    world = World()
    world.tell(e.HostSeen(facts=host(slots=slots)))
    world.tell(e.Submitted(campaign=campaign(), runs=specs()))
    world.tick()
    for what, name in history:
        happen(world, what, name)
        world.tick(0.0)
    return world


def happen(world: World, what: str, name: str) -> None:
    if what == "tick":
        world.tick(5.0)
    elif what == "cancel":
        cancel(world, name)
    elif attempt_of(world.state, name) is not None:
        LIVES[what](world, name)


def attempt_of(state: State, name: str) -> AttemptId | None:
    """The newest attempt of a run, where it is not over."""
    run = state.runs["c", name]
    found = state.attempts.get(("c", name, run.attempts))
    return None if found is None or found.status.status not in RUNNING else found.id


@settings(deadline=None)
@given(histories)
def test_nothing_follows_from_the_same_tick_twice(history: list[Move]) -> None:
    world = lived(history)
    world.tick()
    again = decide(world.state, e.Tick(), world.now)
    assert (again.records, again.notes) == ((), ())
    assert all(order in world.orders for order in again.orders), "at most given again, as the same"


@settings(deadline=None)
@given(
    histories, st.sampled_from(["crash", "end", "vanish", "kill", "save"]), st.sampled_from(RUNS)
)
def test_nothing_follows_from_the_same_observation_twice(
    history: list[Move], what: str, name: str
) -> None:
    world = lived(history)
    if attempt_of(world.state, name) is None:
        return
    happen(world, what, name)
    before, notes, orders = world.state, list(world.notes), list(world.orders)
    LIVES[what](world, name)
    assert (world.state, world.notes) == (before, notes)
    assert all(order in orders for order in world.orders), "at most given again, as the same"


@settings(deadline=None)
@given(histories, st.sampled_from(RUNS))
def test_a_run_that_is_told_to_stop_twice_is_as_one_that_is_told_once(
    history: list[Move], name: str
) -> None:
    world = lived(history)
    world.tell(stop(name))
    once = world.state
    world.tell(stop(name))
    assert world.state == once


@settings(deadline=None)
@given(histories, st.permutations(["x", "y", "z"]))
def test_other_campaigns_that_are_over_change_nothing(
    history: list[Move], others: list[str]
) -> None:
    """In whatever order they came, and whatever became of them."""
    alone = lived(history)
    world = World()
    world.tell(e.HostSeen(facts=host(slots=len(RUNS))))
    for number, other in enumerate(others):
        world.tell(e.Submitted(campaign=campaign(other), runs=specs(["r"])))
        reason = f"number {number}"
        world.tell(e.StopRequested(runs=((other, "r"),), kill=False, by="user", reason=reason))
    world.tell(e.Submitted(campaign=campaign(), runs=specs()))
    world.tick()
    for what, name in history:
        happen(world, what, name)
        world.tick(0.0)
    for name in RUNS:
        mine, theirs = alone.run(name), world.run(name)
        assert mine.model_copy(update={"order": 0}) == theirs.model_copy(update={"order": 0})
        assert [a.status for a in alone.state.attempts_of(("c", name))] == [
            a.status for a in world.state.attempts_of(("c", name))
        ]


@settings(deadline=None)
@given(histories)
def test_no_history_gives_a_device_to_two_attempts(history: list[Move]) -> None:
    world = lived(history, slots=2)
    given_out = [d for a in world.state.attempts.values() if a.leased for d in a.devices]
    assert len(given_out) == len(set(given_out))


@settings(deadline=None)
@given(histories)
def test_a_done_attempt_stays_as_it_ended(history: list[Move]) -> None:
    world = lived(history)
    ended = {a.id: a.status for a in world.state.attempts.values() if a.status.status == "done"}
    for name in RUNS:
        if attempt_of(world.state, name) is None and world.run(name).attempts:
            live(world, name)
    for key, status in ended.items():
        assert world.state.attempts[key].status == status
