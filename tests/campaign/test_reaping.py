"""Laws of reaping: a reaper that failed is sent again with pauses, while its host answers."""

from __future__ import annotations

from campaign import events as e
from campaign.orders import ReapAttempt
from campaign.reaping import FIRST_PAUSE, LONGEST_PAUSE
from tests.campaign.worlds import DEAD, World, host, spec


def dead_shim() -> World:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.see("a", shim=DEAD)
    return world


def reaps(world: World) -> int:
    return sum(isinstance(order, ReapAttempt) for order in world.orders)


def fail(world: World) -> None:
    world.tell(e.ReapFailed(attempt=("c", "a", 1), reason="No space left on device"))


def test_a_reaper_that_failed_is_sent_again_after_its_pause_as_the_same_order() -> None:
    world = dead_shim()
    fail(world)
    world.tick(after=FIRST_PAUSE - 1)
    assert reaps(world) == 1
    world.tick(after=1)
    orders = [order.order for order in world.orders if isinstance(order, ReapAttempt)]
    assert len(orders) == 2
    assert orders[0] == orders[1]
    assert any("No space left on device" in note for note in world.notes)


def test_while_it_is_under_way_it_is_not_sent_again() -> None:
    world = dead_shim()
    fail(world)
    world.tick(after=FIRST_PAUSE)
    world.tick(after=LONGEST_PAUSE)
    assert reaps(world) == 2


def test_the_pause_doubles_up_to_a_limit() -> None:
    world = dead_shim()
    pauses = []
    for _ in range(10):
        fail(world)
        pauses.append(world.attempt("a").reap_again_at - world.now)
        world.tick(after=pauses[-1])
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert max(pauses) == LONGEST_PAUSE
    assert reaps(world) == 11


def test_a_host_that_does_not_answer_is_waited_for() -> None:
    world = dead_shim()
    fail(world)
    world.tell(e.HostLost(host="h", reason="no answer"))
    world.tick(after=LONGEST_PAUSE)
    assert reaps(world) == 1
    world.tell(e.HostSeen(facts=host()))
    world.tick()
    assert reaps(world) == 2


def test_a_look_at_the_dead_shim_does_not_cut_the_pause_short() -> None:
    world = dead_shim()
    fail(world)
    world.see("a", shim=DEAD)
    assert reaps(world) == 1


def test_an_attempt_that_is_over_is_not_reaped_again() -> None:
    world = dead_shim()
    fail(world)
    reaped = {"by": "controller", "reason": "its shim was killed"}
    world.exits("a", None, signal=9, order=reaped)
    fail(world)
    world.tick(after=LONGEST_PAUSE)
    assert reaps(world) == 1
