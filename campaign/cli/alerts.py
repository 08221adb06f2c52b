"""campaign alerts: what the rules had to say."""

from __future__ import annotations

from collections.abc import Sequence

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import AboutArgument, HomeOption, JsonOption, client
from campaign.cli.output import put, put_grid, put_json, talk, talk_next
from campaign.cli.paint import tone_of
from campaign.cli.words import moment
from campaign.rows import AlertRow

_COLUMNS = (
    Column(title="AT"),
    Column(title="RUN"),
    Column(title="TRY", right=True),
    Column(title="STEP", right=True),
    Column(title="ACTION"),
    Column(title="RULE"),
)


def alerts(
    about: AboutArgument = None, as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Alerts and verdicts of the rules, with their numbers."""
    del home
    found = client().alerts(about)
    if as_json:
        put_json(found)
        return
    if not found:
        talk("no alert was raised")
    put_alerts(found)
    talk_next("campaign show RUN", "campaign checkpoints RUN")


def put_alerts(found: Sequence[AlertRow]) -> None:
    """As a table, if there are any."""
    if found:
        put()
        put_grid(_COLUMNS, [_row(alert) for alert in found], note="REASON")


def _row(alert: AlertRow) -> Row:
    return Row(
        cells=(
            Cell(text=moment(alert.at)),
            Cell(text=f"{alert.campaign}/{alert.run}"),
            Cell(text=str(alert.attempt)),
            Cell(text="" if alert.step is None else str(alert.step)),
            Cell(text=alert.action, tone=tone_of(alert.action)),
            Cell(text=alert.rule),
        ),
        note=alert.reason,
    )
