"""The options that several verbs share, and which home they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli import complete

if TYPE_CHECKING:
    from campaign.api import Client


class _Chosen:
    """The home of this command line, given before or after the verb."""

    home: str | None = None


def _note_home(value: str | None) -> str | None:
    if value is not None:
        _Chosen.home = value
    return value


HomeOption = Annotated[
    str | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Where campaigns live; else $CAMPAIGN_HOME, else ./runs.",
        callback=_note_home,
        is_eager=True,
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Results as JSON.")]
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
        metavar="RUN...",
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
        metavar="[CAMPAIGN]",
        help="Its name; all if left out.",
        autocompletion=complete.campaigns,
        show_default=False,
    ),
]
AboutArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[CAMPAIGN|RUN]",
        help="All if left out.",
        autocompletion=complete.both,
        show_default=False,
    ),
]


def forget_home() -> None:
    """Before a new command line is read."""
    _Chosen.home = None


def client() -> Client:
    """The client of the home that was given."""
    from campaign.api import Client
    from campaign.cli.output import talk

    return Client(_Chosen.home, tell=lambda text: talk(text, "dim"))
