"""campaign alerts: what the rules had to say; with --test, whether people can be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import AboutArgument, HomeOption, JsonOption, client
from campaign.cli.output import put, put_grid, put_json, talk, talk_next
from campaign.cli.paint import tone_of
from campaign.cli.words import moment
from campaign.errors import ExitCode
from campaign.rows import AlertRow

if TYPE_CHECKING:
    from campaign.alerting import SinkTest

_COLUMNS = (
    Column(title="AT"),
    Column(title="RUN"),
    Column(title="TRY", right=True),
    Column(title="STEP", right=True),
    Column(title="ACTION"),
    Column(title="RULE"),
)


_SINKS = (Column(title=""), Column(title="SINK"))


def alerts(
    about: AboutArgument = None,
    test: Annotated[
        bool, typer.Option("--test", help="Send a test alert to every sink; 7 if one failed.")
    ] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Alerts and verdicts of the rules, with their numbers."""
    del home
    if test:
        _put_test(client().test_alerts(), as_json=as_json)
        return
    found = client().alerts(about)
    if as_json:
        put_json(found)
        return
    if not found:
        talk("no alert was raised")
    put_alerts(found)
    named = next((f"{a.campaign}/{a.run}" for a in reversed(found) if a.run), None)
    about_one = [] if named is None else [f"campaign show {named}", f"campaign checkpoints {named}"]
    talk_next(*about_one, "campaign alerts --test")


def _put_test(tests: Sequence[SinkTest], *, as_json: bool) -> None:
    """Which sinks took it. What the controller can do may differ: it has an environment of its own."""
    if as_json:
        put_json(tests)
    else:
        put_grid(_SINKS, [_tested(test) for test in tests], note="WHY NOT")
    failed = sum(not test.ok for test in tests)
    if failed:
        talk(f"{failed} of {len(tests)} sinks did not take it", "bad")
        talk_next("campaign config show", "campaign doctor")
        raise typer.Exit(ExitCode.PARTLY_DONE)


def _tested(test: SinkTest) -> Row:
    word = "ok" if test.ok else "fail"
    return Row(cells=(Cell(text=word, tone=tone_of(word)), Cell(text=test.sink)), note=test.detail)


def put_alerts(found: Sequence[AlertRow]) -> None:
    """As a table, if there are any."""
    if found:
        put()
        put_grid(_COLUMNS, [_row(alert) for alert in found], note="REASON")


def _row(alert: AlertRow) -> Row:
    return Row(
        cells=(
            Cell(text=moment(alert.at)),
            Cell(text="/".join(name for name in (alert.campaign, alert.run) if name)),
            Cell(text=str(alert.attempt or "")),
            Cell(text="" if alert.step is None else str(alert.step)),
            Cell(text=alert.action, tone=tone_of(alert.action)),
            Cell(text=alert.rule),
        ),
        note=alert.reason,
    )
