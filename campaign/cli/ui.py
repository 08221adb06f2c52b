"""campaign ui: the comparison in MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli.options import HomeOption, NewestCampaignArgument, client
from campaign.cli.output import put, talk, talk_next
from campaign.errors import NotFound

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
    meant = _meant(here, campaign)
    talk("starting MLflow's UI", "dim")
    with here.ui(port=port) as served:
        put(_link(here, served, meant))
        if served.pid is None:
            return
        talk("served until Ctrl-C", "dim")
        try:
            served.wait()
        except KeyboardInterrupt:
            talk("ended")


@dataclass(frozen=True, kw_only=True)
class Meant:
    """The campaign whose comparison is wanted; None: MLflow itself.

    ``not_submitted``: what to say if MLflow has nothing of it either. It may hold attempts that were published into it.
    """

    campaign: str | None = None
    not_submitted: NotFound | None = None


def _meant(here: Client, campaign: str | None) -> Meant:
    """The campaign named, else the newest. Raises NotFound if it was not submitted and MLflow holds nothing at all."""
    if campaign is None:
        known = here.campaigns()
        return Meant(campaign=known[0].name if known else None)
    try:
        with here.reader() as reader:
            return Meant(campaign=reader.find_campaign(campaign))
    except NotFound as error:
        if not _mlflow_is_there(here):
            raise
        return Meant(campaign=campaign, not_submitted=error)


def _mlflow_is_there(here: Client) -> bool:
    return here.config().settings.mlflow.tracking_uri is not None or here.home.mlflow_db.exists()


def _link(here: Client, served: Ui, meant: Meant) -> str:
    """Of the comparison; of MLflow itself where it has nothing of a campaign that was submitted."""
    from watchers.ui_mlflow import NothingThere

    if meant.campaign is None:
        return served.url
    try:
        return served.campaign_url(meant.campaign)
    except NothingThere as error:
        if meant.not_submitted is not None:
            raise meant.not_submitted from error
        talk(str(error), "notice")
        talk_next(f"campaign publish {here.home.root / meant.campaign}    # if it ran with --debug")
        return served.url
