"""Laws of hosts that come and change: a broken configuration is told as one, and starts nothing."""

from __future__ import annotations

from campaign import events as e
from campaign.devices import Holdings, Seen, device_rows, host_problems
from campaign.hosts.port import HostFacts
from tests.campaign.worlds import World, campaign, host, spec

BROKEN = "/runs/campaign.toml:3:1: is no TOML: Expected ']'"


def misconfigured() -> HostFacts:
    return host().model_copy(update={"misconfigured": (BROKEN,)})


def test_nothing_starts_on_a_host_whose_configuration_cannot_be_read_until_it_is_mended() -> None:
    world = World()
    world.tell(e.HostSeen(facts=misconfigured()))
    world.tell(e.Submitted(campaign=campaign(), runs={"a": spec()}))
    world.tick()
    assert world.run("a").status.status == "queued"
    assert BROKEN in world.run("a").status.why
    world.tell(e.HostSeen(facts=host()))
    world.tick()
    assert world.run("a").status.status == "active"


def test_the_host_is_not_lost_and_what_runs_there_goes_on() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.tell(e.HostSeen(facts=misconfigured()))
    assert world.state.hosts["h"].up
    world.exits("a", 0)
    assert world.run("a").status.ending.result == "succeeded"


def test_it_is_told_once_with_file_and_line_and_once_when_it_is_mended() -> None:
    world = World()
    for facts in (misconfigured(), misconfigured(), host(), host()):
        world.tell(e.HostSeen(facts=facts))
    told = [note for note in world.notes if "configuration" in note or BROKEN in note]
    assert len(told) == 2
    assert BROKEN in told[0]
    assert len(world.state.alerts) == 1


def test_every_screen_of_devices_names_the_file() -> None:
    seen = Seen(facts=misconfigured(), at=0.0, up=True)
    (row, _) = device_rows([seen], Holdings(leases={}, quarantines={}, cookies={}))
    assert (row.use, BROKEN in row.why) == ("unknown", True)
    assert BROKEN in host_problems([seen])[0]
