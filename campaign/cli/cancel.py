"""campaign cancel and what it shares with kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli import complete
from campaign.cli.hints import resumption
from campaign.cli.options import HomeOption, RunsArgument, client
from campaign.cli.output import put, talk_next
from campaign.errors import ExitCode, WrongState

if TYPE_CHECKING:
    from campaign.api import Client

WholeOption = Annotated[
    str | None,
    typer.Option(
        "--campaign",
        metavar="NAME",
        help="Every run of it that is not done.",
        autocompletion=complete.campaigns,
        show_default=False,
    ),
]


def cancel(
    runs: RunsArgument = None, campaign: WholeOption = None, home: HomeOption = None
) -> None:
    """Stop runs: SIGTERM, time to save, then SIGKILL."""
    del home
    here = client()
    stop(here, here.cancel, runs, campaign)


def stop(
    here: Client, how: Callable[..., list[str]], runs: list[str] | None, campaign: str | None
) -> None:
    """Stop the runs that are meant; says what became of each."""
    names = list(runs or ())
    if campaign is not None:
        found = here.runs(campaign)
        names += [run.name for run in found if run.status != "done"]
        if not names:
            raise WrongState(f"every run of {campaign} is done already\n  campaign ls {campaign}")
    if not names:
        raise typer.BadParameter("name a run, or a whole campaign with --campaign NAME")
    answers = how(*names)
    for answer in answers:
        put(answer)
    # one that still saves is not done: `show` says then where it can go on
    talk_next("campaign ls", *(resumption(here, names[0]) or [f"campaign show {names[0]}"]))
    if any(answer.endswith("is done already") for answer in answers):
        raise typer.Exit(ExitCode.PARTLY_DONE)
