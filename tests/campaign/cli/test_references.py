"""Law: `campaign show` says which GPU was meant."""

from __future__ import annotations

from pathlib import Path

from campaign import events as e
from campaign.home import Home
from tests.campaign.cli.conftest import Cli
from tests.campaign.homes import fill
from tests.campaign.worlds import World, campaign, host, spec

GPU = "GPU-aaaa0000-0000-0000-0000-000000000000"


def test_show_says_which_gpu_an_index_was_found_to_mean(cli: Cli, tmp_path: Path) -> None:
    world = World()
    world.tell(e.HostSeen(facts=host("hosta", gpus=(GPU,))))
    run = spec(resources={"gpus": 1, "pin": [0]})
    world.tell(e.Submitted(campaign=campaign(), runs={"a": run}))
    world.tick()
    fill(Home(root=tmp_path / "runs"), world)
    assert f"device 0 = {GPU}" in cli("show", "a").out
    assert f'"references": {{"0": "{GPU}"}}' in cli("show", "a", "--json").out
