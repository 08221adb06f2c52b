"""How following a campaign ends: the runs, the alerts, the way to the comparison, the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import typer

from campaign.cli.alerts import put_alerts
from campaign.cli.board import put_board
from campaign.cli.output import put_json, talk_next
from campaign.errors import WrongState
from campaign.following import exit_code
from campaign.rows import RunRow

if TYPE_CHECKING:
    from campaign.api import Client


def finish(
    here: Client,
    campaign: str,
    runs: Sequence[RunRow],
    *,
    as_json: bool,
    published: bool = True,
) -> NoReturn:
    """Ends with 0 if every run succeeded, else with the code of the first that did not.

    ``published``: a publisher has put it into MLflow meanwhile.
    """
    if not runs and (refusal := here.refusal(campaign)) is not None:
        raise WrongState(refusal)
    if as_json:
        put_json(runs)
    else:
        put_board(runs)
        put_alerts(here.alerts(campaign))
    mirror = [] if published else [f"campaign publish {here.home.root / campaign}"]
    compare = f"campaign ui {campaign}    # the comparison in MLflow"
    first = next((run for run in runs if run.result != "succeeded"), runs[0] if runs else None)
    talk_next(*mirror, compare, *([] if first is None else [f"campaign show {first.name}"]))
    raise typer.Exit(exit_code(runs))
