"""campaign resume: queue a run again that is done."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign.cli import complete
from campaign.cli.options import HomeOption, RunArgument, client
from campaign.cli.output import put, talk_next


def resume(
    run: RunArgument,
    origin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="STEP|certified|latest|scratch",
            help="Where it begins.",
            autocompletion=complete.origins,
        ),
    ] = "latest",
    home: HomeOption = None,
) -> None:
    """Queue a done run again.

    It begins at its newest healthy checkpoint, or where you say. Where no such checkpoint is there it is
    not resumed: exit code 13, and the message says from where it could be.
    """
    del home
    if origin not in complete.ORIGINS and not origin.isdecimal():
        raise typer.BadParameter(f"--from takes a step or one of: {', '.join(complete.ORIGINS)}")
    here = client()
    put(here.resume(run, origin=int(origin) if origin.isdecimal() else origin))
    name, _ = here.find_run(run)
    talk_next(f"campaign watch {name}", f"campaign logs {run} -f")
