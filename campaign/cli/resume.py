"""campaign resume: queue a run again that is done."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign.cli.options import HomeOption, RunArgument, client
from campaign.cli.output import put, talk_next

_WORDS = ("latest", "certified", "scratch")


def resume(
    run: RunArgument,
    origin: Annotated[
        str,
        typer.Option("--from", metavar="STEP|certified|latest|scratch", help="Where it begins."),
    ] = "latest",
    home: HomeOption = None,
) -> None:
    """Queue a done run again.

    It begins at its newest healthy checkpoint, or where you say. Where no such checkpoint is there it is not resumed: exit code 13.
    """
    del home
    if origin not in _WORDS and not origin.isdecimal():
        raise typer.BadParameter(f"--from takes a step or one of: {', '.join(_WORDS)}")
    put(client().resume(run, origin=int(origin) if origin.isdecimal() else origin))
    talk_next("campaign watch", f"campaign checkpoints {run}")
