"""campaign gap: what continual-learning runs have closed of the gap between two bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli import complete
from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import HomeOption, JsonOption, client
from campaign.cli.output import put, put_grid, put_json, talk_next

if TYPE_CHECKING:
    from campaign.gap import GapRow

_COLUMNS = (
    Column(title="RUN"),
    Column(title="WRITES"),
    Column(title="AVG ERROR", right=True),
    Column(title="FORGETTING", right=True),
    Column(title="PLASTICITY", right=True),
    Column(title="GAP CLOSED", right=True),
)


def gap(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="campaign/run, or run where that is clear.",
            autocompletion=complete.runs,
            show_default=False,
        ),
    ],
    lower: Annotated[
        str,
        typer.Option(metavar="RUN", help="The lower bound: naive.", autocompletion=complete.runs),
    ],
    upper: Annotated[
        str,
        typer.Option(metavar="RUN", help="The upper bound: joint.", autocompletion=complete.runs),
    ],
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Continual learning: errors, and the percent closed of the gap between two bounds."""
    del home
    found = client().gap(*runs, lower=lower, upper=upper)
    if as_json:
        put_json(found)
        return
    put_gaps(found)
    talk_next(f"campaign ui {found[0].run.partition('/')[0]}")


def put_gaps(rows: Sequence[GapRow]) -> None:
    """As a table of all tasks together, then one of the percent closed task by task."""
    put_grid(_COLUMNS, [_row(row) for row in rows])
    judged = [row for row in rows if not row.bound]
    if not judged:
        return
    tasks = [Column(title=task.upper(), right=True) for task in rows[0].gap_by_task]
    put()
    put("gap closed, task by task")
    put_grid(
        [*_COLUMNS[:2], *tasks],
        [
            Row(cells=(*_names(row), *(Cell(text=_percent(p)) for p in row.gap_by_task.values())))
            for row in judged
        ],
    )


def _names(row: GapRow) -> tuple[Cell, Cell]:
    bound = f" ({row.bound} bound)" if row.bound else ""
    return Cell(text=row.run + bound), Cell(text=row.mode)


def _row(row: GapRow) -> Row:
    errors = (row.avg_error, row.forgetting, row.plasticity)
    return Row(
        cells=(
            *_names(row),
            *(Cell(text="" if error is None else f"{error:.4f}") for error in errors),
            Cell(text=_percent(row.gap)),
        )
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1f} %"
