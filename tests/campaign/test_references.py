"""Law: which GPU a run's pin means is decided once, at the first moment at which the GPUs are known."""

from __future__ import annotations

from typing import Any

from campaign import events as e
from campaign.orders import StartAttempt
from campaign.records import FailureClass
from tests.campaign.worlds import World, campaign, host, spec

A0, B0 = "GPU-aaaa0000-0000-0000-0000-000000000000", "GPU-bbbb0000-0000-0000-0000-000000000000"


def submit(world: World, **resources: Any) -> None:
    run = spec(resources={"gpus": 1, **resources})
    world.tell(e.Submitted(campaign=campaign(), runs={"a": run}))
    world.tick()


def seen(world: World, name: str, *gpus: str) -> None:
    """Seen twice, long enough apart for strangers to have shown themselves."""
    for _ in range(2):
        world.tell(e.HostSeen(facts=host(name, gpus=gpus)))
        world.now += 30.0


def test_a_pin_by_index_keeps_its_gpu_when_a_second_host_with_that_index_joins() -> None:
    world = World()
    world.tell(e.HostSeen(facts=host("hosta", gpus=(A0,))))  # too short a look to start on
    submit(world, pin=[0])
    assert world.run("a").references == {"0": A0}
    assert f"c/a: pin 0 = {A0}" in world.notes
    seen(world, "hostb", B0)
    seen(world, "hosta", A0)
    world.tick()
    assert world.attempt("a").devices == (A0,)
    assert sum("pin 0" in note for note in world.notes) == 1


def test_an_exclusion_by_index_is_that_gpu_and_not_another_hosts() -> None:
    world = World()
    world.tell(e.HostSeen(facts=host("hosta", gpus=(A0,))))
    submit(world, exclude=[0])
    seen(world, "hosta", A0)
    seen(world, "hostb", B0)
    world.tick()
    assert world.attempt("a").devices == (B0,)


def test_where_no_host_is_known_the_pin_is_taken_when_one_comes() -> None:
    world = World()
    world.with_state(hosts={})
    submit(world, pin=[0])
    assert world.run("a").references == {}
    assert world.run("a").status.status == "queued"
    seen(world, "hosta", A0)
    world.tick()
    assert world.run("a").references == {"0": A0}
    assert world.attempt("a").devices == (A0,)


def test_a_pin_that_several_hosts_have_ends_the_run_with_the_candidates() -> None:
    world = World()
    seen(world, "hosta", A0)
    seen(world, "hostb", B0)
    submit(world, pin=[0])
    ending = world.run("a").status.ending
    assert ending.failure_class is FailureClass.COULD_NOT_START
    assert "hosta:0" in ending.reason
    assert "hostb:0" in ending.reason
    assert not any(isinstance(order, StartAttempt) for order in world.orders)


def test_a_pinned_gpu_that_is_gone_is_waited_for_and_no_other_taken() -> None:
    world = World()
    world.tell(e.HostSeen(facts=host("hosta", gpus=(A0,))))
    submit(world, pin=[0])
    seen(world, "hosta", B0)  # another card in the same place
    world.tick()
    assert world.run("a").status.status == "queued"
