"""campaign watch: the live table."""

from __future__ import annotations

import typer

from campaign.cli.board import put_board
from campaign.cli.follow import follow
from campaign.cli.options import HomeOption, JsonLinesOption, NewestCampaignArgument, client
from campaign.cli.output import talk, talk_next
from campaign.errors import ExitCode, NotFound


def watch(
    campaign: NewestCampaignArgument = None,
    as_json: JsonLinesOption = False,
    home: HomeOption = None,
) -> None:
    """Follow a campaign live: bar, metrics, residual, device, ETA.

    Without a name the newest one. Ctrl-C ends the watching, not the runs. With --json one JSON line per
    change, with the rows of the runs that changed.
    """
    del home
    here = client()
    known = here.campaigns()
    if campaign is None and not known:
        raise NotFound("nothing was submitted yet\n  campaign submit FILE")
    name = known[0].name if campaign is None else campaign
    try:
        runs = follow(here, name, as_json=as_json)
    except KeyboardInterrupt:
        talk(f"no longer watching; the runs of {name} go on", "notice")
        talk_next(f"campaign watch {name}", f"campaign cancel --campaign {name}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if not as_json:
        put_board(runs)
    talk_next(f"campaign alerts {name}", f"campaign ui {name}")
