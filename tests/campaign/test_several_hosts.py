"""Which host a run may start on, where its checkpoint lies on one of several."""

from __future__ import annotations

import pytest

from campaign import events as e
from campaign.records import Result
from tests.campaign.worlds import World, host, spec


def crashed(*, shares_home: bool, hosts: tuple[str, ...] = ()) -> World:
    """A run that crashed on host ``h`` and has a checkpoint there; ``g`` is another host."""
    world = World(a=spec(resources={"hosts": ["h"]}, retry={"wait": 1.0}))
    world.tell(e.HostSeen(facts=host("h").model_copy(update={"shares_home": shares_home})))
    world.tick()
    world.checkpoints("a", 5)
    changed = world.run("a").spec.model_copy(
        update={"resources": world.run("a").spec.resources.model_copy(update={"hosts": hosts})}
    )
    world.state = world.state.apply((world.run("a").model_copy(update={"spec": changed}),))
    world.tell(e.HostSeen(facts=host("g")))
    world.exits("a", 1)
    assert world.attempt("a").status.ending.result is Result.FAILED  # type: ignore[union-attr]
    return world


@pytest.mark.parametrize("shares_home", [True, False])
def test_a_checkpoint_is_brought_to_the_host_that_the_spec_names(shares_home: bool) -> None:
    world = crashed(shares_home=shares_home, hosts=("g",))
    world.tick(after=60.0)
    second = world.attempt("a", 2)
    assert (second.host, second.start.step, second.start.host) == ("g", 5, "h")


def test_a_run_whose_checkpoint_lies_in_the_home_does_not_wait_for_a_lost_host() -> None:
    world = crashed(shares_home=True)
    world.tell(e.HostLost(host="h", reason="no answer"))
    world.tick(after=60.0)
    assert world.attempt("a", 2).host == "g"


def test_a_run_waits_for_the_lost_host_that_alone_has_its_checkpoint() -> None:
    world = crashed(shares_home=False)
    world.tell(e.HostLost(host="h", reason="no answer"))
    world.tick(after=60.0)
    assert world.run("a").status.status == "queued"
    world.tell(e.HostSeen(facts=host("h").model_copy(update={"shares_home": False})))
    world.tick()
    assert world.attempt("a", 2).start.step == 5
