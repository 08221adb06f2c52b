"""campaign wait: until every run of a campaign is done."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign.cli.finish import finish
from campaign.cli.follow import follow
from campaign.cli.options import CampaignArgument, HomeOption, JsonOption, client
from campaign.cli.output import talk, talk_next
from campaign.errors import ExitCode


def wait(
    campaign: CampaignArgument,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Then exit code 124; the runs go on.", min=0, show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Wait until all runs are done. The exit code says how they ended, as with submit --wait."""
    del home
    here = client()
    try:
        runs = follow(here, campaign, timeout=timeout)
    except KeyboardInterrupt:
        talk(f"no longer waiting; the runs of {campaign} go on", "notice")
        talk_next(f"campaign wait {campaign}", f"campaign cancel --campaign {campaign}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finish(here, campaign, runs, as_json=as_json)
