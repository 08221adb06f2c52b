"""campaign publish: attempts that ran elsewhere into MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from campaign.cli.options import HomeOption, JsonOption, client
from campaign.cli.output import put, put_json, talk, talk_next
from campaign.cli.words import count
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
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Mirror attempts that ran elsewhere into MLflow. Twice does no harm."""
    del home
    here = client()
    talk("publishing; the first time MLflow takes a few seconds to load", "dim")
    done = here.publish(directory, campaign=campaign)
    if as_json:
        put_json(
            [{"points": done.points, "in_files": here.points_in(directory), "left": done.left}]
        )
    elif done.points or done.left:
        put(f"published {count(done.points, 'point')}")
    else:
        put(_nothing_new(here.points_in(directory), directory))
    for what, why in done.left.items():
        talk(f"not published: {what}: {why}", "bad")
    talk_next("campaign ui" if campaign is None else f"campaign ui {campaign}")
    if done.left:
        raise typer.Exit(ExitCode.PARTLY_DONE)


def _nothing_new(points: int, directory: Path) -> str:
    if points:
        return f"nothing new: all {count(points, 'point')} of {directory} were published before"
    return f"nothing to publish: the attempts in {directory} have written no metric point"
