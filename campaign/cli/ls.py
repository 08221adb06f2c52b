"""campaign ls: the runs, why they wait and how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli.board import put_board
from campaign.cli.options import HomeOption, JsonOption, SomeCampaignArgument, client
from campaign.cli.output import put_json, talk, talk_all, talk_next
from campaign.errors import ExitCode

if TYPE_CHECKING:
    from campaign.api import Client

MOST = 1000


def ls(
    campaign: SomeCampaignArgument = None,
    most: Annotated[
        int,
        typer.Option(
            "--most", "-n", metavar="N", help="Only the runs submitted last; 0 for all.", min=0
        ),
    ] = MOST,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """The runs: status, step, metrics, and why they wait or ended.

    The table shows the newest 1000 (see --most) and says so if there are more; --json shows all. Where a
    configuration file cannot be read, so that nothing starts, it says so after them: exit code 3.
    """
    del home
    here = client()
    if as_json:
        put_json(here.runs(campaign))
    else:
        _put(here, campaign, most)
    if problems := here.misconfigured():
        talk_all(problems, "bad")
        raise typer.Exit(ExitCode.BAD_SPEC)


def _put(here: Client, campaign: str | None, most: int) -> None:
    runs, count = here.brief_runs(campaign, newest=most or -1)
    if not runs:
        talk(f"nothing was submitted to {here.home.root} yet")
        talk_next("campaign submit FILE")
        return
    put_board(runs)
    first: list[str] = []
    if any(run.status != "done" for run in runs) and here.controller() is None:
        talk("no controller runs: nothing new is started or seen", "notice")
        first.append("campaign up")
    if count > len(runs):
        talk(f"{count - len(runs)} older runs are not shown", "notice")
        first.append("campaign ls --most 0")
    name = campaign or runs[-1].campaign
    follow = [] if all(run.status == "done" for run in runs) else [f"campaign watch {name}"]
    talk_next(*first, f"campaign show {runs[-1].name}", *follow, f"campaign ui {name}")
