"""campaign publish: attempts that ran elsewhere into MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from campaign.cli.options import HomeOption, client
from campaign.cli.output import put, talk, talk_next
from campaign.errors import ExitCode


def publish(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A copied home, campaign, run or attempt.", show_default=False
        ),
    ],
    campaign: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The experiment; each attempt's own if left out.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Mirror attempts that ran elsewhere into MLflow. Twice does no harm."""
    del home
    talk("publishing; the first time MLflow takes a few seconds to load", "dim")
    done = client().publish(directory, campaign=campaign)
    put(f"{done.points} points are in MLflow")
    for what, why in done.left.items():
        talk(f"not published: {what}: {why}", "bad")
    talk_next("campaign ui" if campaign is None else f"campaign ui {campaign}")
    if done.left:
        raise typer.Exit(ExitCode.PARTLY_DONE)
