"""The options that several verbs share, and the client of the home that was given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli import complete
from campaign.cli.where import given_home, note_home

if TYPE_CHECKING:
    from campaign.api import Client


HomeOption = Annotated[
    str | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Where campaigns live; else $CAMPAIGN_HOME, else ./runs.",
        callback=note_home,
        is_eager=True,
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help='Results as one line of JSON, {"schema": 1, "data": [...]}.')
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json", help='As lines of JSON, each {"schema": 1, "data": [...]}.')
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="campaign/run, or run where that is clear.",
        autocompletion=complete.runs,
        show_default=False,
    ),
]
RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="campaign/run, or run where that is clear.",
        autocompletion=complete.runs,
        show_default=False,
    ),
]
CampaignArgument = Annotated[
    str,
    typer.Argument(
        metavar="CAMPAIGN",
        help="Its name.",
        autocompletion=complete.campaigns,
        show_default=False,
    ),
]
SomeCampaignArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CAMPAIGN",
        help="Its name; all if left out.",
        autocompletion=complete.campaigns,
        show_default=False,
    ),
]
NewestCampaignArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CAMPAIGN",
        help="Its name; the one submitted last if left out.",
        autocompletion=complete.campaigns,
        show_default=False,
    ),
]
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The campaign file (YAML).", show_default=False)
]
ProfileOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Take this profile of the file.", show_default=False),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="RUN",
        help="Take this run alone, of those that the profile has. May be repeated.",
        show_default=False,
    ),
]
AboutArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CAMPAIGN|RUN",
        help="All if left out.",
        autocompletion=complete.both,
        show_default=False,
    ),
]


def client() -> Client:
    """The client of the home that was given."""
    from campaign.api import Client
    from campaign.cli.output import talk

    return Client(given_home(), tell=lambda text: talk(text, "dim"))
