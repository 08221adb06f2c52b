"""campaign cancel and what it shares with kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from campaign.cli.options import HomeOption, RunsArgument, client
from campaign.cli.output import put, talk_next
from campaign.errors import ExitCode

WholeOption = Annotated[
    str | None,
    typer.Option(
        "--campaign", metavar="NAME", help="Every run of it that is not done.", show_default=False
    ),
]


def cancel(
    runs: RunsArgument = None, campaign: WholeOption = None, home: HomeOption = None
) -> None:
    """Stop runs: SIGTERM, time to save, then SIGKILL."""
    del home
    stop(lambda *names: client().cancel(*names), runs, campaign)


def stop(how: Callable[..., list[str]], runs: list[str] | None, campaign: str | None) -> None:
    """Stop the runs that are meant; says what became of each."""
    names = list(runs or ())
    if campaign is not None:
        found = client().runs(campaign)
        names += [run.name for run in found if run.status != "done"]
    if not names:
        raise typer.BadParameter("name a run, or a campaign with --campaign that has one to stop")
    answers = how(*names)
    for answer in answers:
        put(answer)
    talk_next("campaign ls", f"campaign resume {names[0]}")
    if any(answer.endswith("is done already") for answer in answers):
        raise typer.Exit(ExitCode.PARTLY_DONE)
