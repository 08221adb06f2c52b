"""campaign ls: the runs, why they wait and how they ended."""

from __future__ import annotations

from campaign.cli.board import put_board
from campaign.cli.options import HomeOption, JsonOption, SomeCampaignArgument, client
from campaign.cli.output import put_json, talk, talk_next


def ls(
    campaign: SomeCampaignArgument = None, as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Every run: status, step, metrics, device, why it waits or why it ended."""
    del home
    here = client()
    runs = here.runs(campaign, brief=not as_json)
    if as_json:
        put_json(runs)
        return
    if not runs:
        talk(f"nothing was submitted to {here.home.root} yet")
        talk_next("campaign submit FILE")
        return
    put_board(runs)
    name = campaign or runs[-1].campaign
    talk_next(f"campaign show {runs[-1].name}", f"campaign watch {name}", f"campaign ui {name}")
