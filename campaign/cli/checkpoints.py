"""campaign checkpoints: which there are, and why each is certified or not."""

from __future__ import annotations

from collections.abc import Sequence

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.hints import resumption
from campaign.cli.options import AboutArgument, HomeOption, JsonOption, client
from campaign.cli.output import put_grid, put_json, talk, talk_next
from campaign.cli.paint import tone_of
from campaign.cli.words import moment
from campaign.rows import CheckpointRow

_COLUMNS = (
    Column(title="RUN"),
    Column(title="TRY", right=True),
    Column(title="STEP", right=True),
    Column(title="AT"),
    Column(title="STATUS"),
)


def checkpoints(
    about: AboutArgument = None, as_json: JsonOption = False, home: HomeOption = None
) -> None:
    """Checkpoints, and why each is certified or not."""
    del home
    here = client()
    found = here.checkpoints(about)
    if as_json:
        put_json(found)
        return
    if not found:
        talk("there is no complete checkpoint")
        talk_next("campaign ls")
        return
    put_checkpoints(found)
    newest = f"{found[-1].campaign}/{found[-1].run}"
    talk_next(f"campaign show {newest}", *resumption(here, newest))


def put_checkpoints(found: Sequence[CheckpointRow]) -> None:
    """As a table."""
    put_grid(_COLUMNS, [_row(checkpoint) for checkpoint in found], note="WHY")


def _row(checkpoint: CheckpointRow) -> Row:
    return Row(
        cells=(
            Cell(text=f"{checkpoint.campaign}/{checkpoint.run}"),
            Cell(text=str(checkpoint.attempt)),
            Cell(text=str(checkpoint.step)),
            Cell(text=moment(checkpoint.completed_at)),
            Cell(text=checkpoint.status, tone=tone_of(checkpoint.status)),
        ),
        note=checkpoint.reason,
    )
