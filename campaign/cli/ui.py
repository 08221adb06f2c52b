"""campaign ui: the comparison in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli.options import HomeOption, NewestCampaignArgument, client
from campaign.cli.output import put, talk, talk_next

if TYPE_CHECKING:
    from campaign.api import Client
    from watchers.ui_mlflow import Ui


def ui(
    campaign: NewestCampaignArgument = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="A free one if left out.", min=1, max=65535, show_default=False
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Serve MLflow on loopback and print a comparison's link. Ctrl-C ends it.

    Without a name the link of the newest campaign. Whoever has the link can change what MLflow holds.
    """
    del home
    here = client()
    name = _name(here, campaign)
    talk("starting MLflow's UI", "dim")
    with here.ui(port=port) as served:
        put(_link(here, served, name))
        if served.pid is None:
            return
        talk("served until Ctrl-C", "dim")
        try:
            served.wait()
        except KeyboardInterrupt:
            talk("ended")


def _name(here: Client, campaign: str | None) -> str | None:
    """The campaign that is meant: the one named, else the newest. Raises NotFound."""
    if campaign is not None:
        with here.reader() as reader:
            return reader.find_campaign(campaign)
    known = here.campaigns()
    return known[0].name if known else None


def _link(here: Client, served: Ui, campaign: str | None) -> str:
    """Of the comparison; of MLflow itself where it has nothing of the campaign."""
    from watchers.ui_mlflow import NothingThere

    if campaign is None:
        return served.url
    try:
        return served.campaign_url(campaign)
    except NothingThere as error:
        talk(str(error), "notice")
        talk_next(f"campaign publish {here.home.root / campaign}    # if it ran with --debug")
        return served.url
