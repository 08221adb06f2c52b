"""campaign watch: the live table."""

from __future__ import annotations

import typer

from campaign.cli.board import put_board
from campaign.cli.follow import follow
from campaign.cli.options import HomeOption, SomeCampaignArgument, client
from campaign.cli.output import talk, talk_next
from campaign.errors import ExitCode, NotFound


def watch(campaign: SomeCampaignArgument = None, home: HomeOption = None) -> None:
    """Follow a campaign live: bar, metrics, residual, device, ETA.

    Without a name the newest one. Ctrl-C ends the watching, not the runs.
    """
    del home
    here = client()
    known = here.campaigns()
    if campaign is None and not known:
        raise NotFound("nothing was submitted yet\n  campaign submit FILE")
    name = known[0].name if campaign is None else campaign
    try:
        runs = follow(here, name)
    except KeyboardInterrupt:
        talk(f"no longer watching; the runs of {name} go on", "notice")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    put_board(runs)
    talk_next(f"campaign alerts {name}", f"campaign ui {name}")
