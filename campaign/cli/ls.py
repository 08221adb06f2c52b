"""campaign ls: the runs, why they wait and how they ended."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign.cli.board import put_board
from campaign.cli.options import HomeOption, JsonOption, SomeCampaignArgument, client
from campaign.cli.output import put_json, talk, talk_all, talk_next

MOST = 1000


def ls(
    campaign: SomeCampaignArgument = None,
    most: Annotated[
        int, typer.Option("--most", "-n", help="Only the runs submitted last; 0 for all.", min=0)
    ] = MOST,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """The runs: status, step, metrics, and why they wait or ended.

    The table shows the newest 1000 (see --most) and says so if there are more; --json shows all.
    """
    del home
    here = client()
    if as_json:
        put_json(here.runs(campaign))
        return
    runs, count = here.brief_runs(campaign, newest=most or -1)
    if not runs:
        talk(f"nothing was submitted to {here.home.root} yet")
        talk_next("campaign submit FILE")
        return
    put_board(runs)
    if any(run.status != "done" for run in runs):
        if here.controller() is None:
            talk("no controller runs: nothing new is started or seen; campaign up", "notice")
        talk_all(here.misconfigured(), "notice")
    if count > len(runs):
        talk(f"{count - len(runs)} older runs are not shown: campaign ls --most 0", "notice")
    name = campaign or runs[-1].campaign
    talk_next(f"campaign show {runs[-1].name}", f"campaign watch {name}", f"campaign ui {name}")
