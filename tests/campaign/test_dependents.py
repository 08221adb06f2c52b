"""Laws of what other runs start from: it is kept for as long as one of them may need it."""

from __future__ import annotations

from typing import Any

from campaign import events as e
from campaign.orders import KeepCheckpoints
from campaign.records import StartKind
from specs.run import RunSpec
from tests.campaign.worlds import World, campaign, spec


def warm(**more: Any) -> RunSpec:
    return spec(start={"warm_from": {"run": "a", **more}})


def keeps(world: World) -> list[tuple[int, ...]]:
    return [order.steps for order in world.orders if isinstance(order, KeepCheckpoints)]


def test_a_source_is_told_once_which_steps_queued_runs_start_from() -> None:
    world = World(a=spec(), b=warm(step=20), d=warm(step=10))
    world.tick()
    assert keeps(world) == [], "its files may not be there yet"
    world.see("a")
    world.tick()
    world.tick()
    assert keeps(world) == [(10, 20)]
    assert world.attempt("a").kept == (10, 20)


def test_a_run_of_another_campaign_that_is_submitted_later_counts_too() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.tick()
    assert keeps(world) == []
    other = {"b": warm(step=20, campaign="c")}
    world.tell(e.Submitted(campaign=campaign("later"), runs=other))
    world.tick()
    assert keeps(world) == [(20,)]


def test_it_is_kept_while_the_dependent_runs_and_let_go_when_that_is_done() -> None:
    world = World(a=spec(), b=warm(step=20))
    world.tick()
    world.checkpoints("a", 20, certified=(20,))
    world.tick()
    assert world.attempt("b").start.kind is StartKind.WARM
    world.see("b")
    world.tick()
    assert keeps(world) == [(20,)]
    world.exits("b", 0)
    world.tick()
    assert keeps(world) == [(20,), ()]


def test_without_a_step_nothing_is_kept_as_a_done_source_deletes_nothing() -> None:
    world = World(a=spec(), b=warm())
    world.tick()
    world.see("a")
    world.tick()
    assert keeps(world) == []


def test_a_later_attempt_of_the_source_is_told_too() -> None:
    world = World(a=spec(retry={"from_scratch": True}), b=warm(step=20))
    world.tick()
    world.see("a")
    world.tick()
    world.exits("a", 1)
    world.tick(after=60.0)
    world.see("a")
    world.tick()
    told = [order.attempt for order in world.orders if isinstance(order, KeepCheckpoints)]
    assert told == [("c", "a", 1), ("c", "a", 2)]
