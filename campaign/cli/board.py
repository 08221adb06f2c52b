"""Runs as a table: `ls`, `watch`, the end of `submit --wait`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from campaign.cli.grid import Cell, Column, Row, grid
from campaign.cli.output import put
from campaign.cli.paint import speaks_unicode, tone_of, wants_colour, width_of
from campaign.cli.words import duration, short_device
from campaign.following import shown
from campaign.pace import Eta
from campaign.rows import RunRow

WIDE = 100
BAR = 10
RESIDUAL = "residual/T1"


class _Field(NamedTuple):
    column: Column
    cell: Callable[[RunRow], Cell]


def board(
    runs: Sequence[RunRow], *, width: int | None, colour: bool, live: bool = False, bar: str = "#"
) -> list[str]:
    """The lines. ``live``: with a progress bar; ``width`` None: nothing is wrapped or left out."""
    wide = width is None or width >= WIDE
    fields = _fields(runs, wide=wide, bar=bar if live else None)
    rows = [Row(cells=tuple(f.cell(run) for f in fields), note=_note(run)) for run in runs]
    gap = 2 if wide else 1
    columns = [field.column for field in fields]
    return grid(columns, rows, note="WHY", width=width, colour=colour, gap=gap)


def put_board(runs: Sequence[RunRow]) -> None:
    """The table on stdout."""
    out = sys.stdout
    put("\n".join(board(runs, width=width_of(out), colour=wants_colour(out))))


def bar_of(stream: object = sys.stderr) -> str:
    """What a bar is drawn with."""
    return "━" if speaks_unicode(sys.stderr) else "#"


def _fields(runs: Sequence[RunRow], *, wide: bool, bar: str | None) -> list[_Field]:
    several = len({run.campaign for run in runs}) > 1
    metrics = {run.metric for run in runs if run.metric in run.metrics}
    metric = metrics.pop() if len(metrics) == 1 else "METRIC"
    fields = [
        _Field(Column(title="RUN"), lambda run: Cell(text=run.name if several else run.run)),
        _Field(Column(title="STATUS"), _status),
        _Field(Column(title="STEP", right=True), _step),
        _Field(Column(title="PHASE"), lambda run: Cell(text=run.phase or "")),
        _Field(Column(title=metric.upper(), right=True), _latest),
    ]
    if bar is not None:
        fields.insert(2, _Field(Column(title=""), lambda run: _bar(run, bar)))
    if wide or bar is None:
        title = "BEST IN PHASE" if any(run.phase for run in runs) else "BEST"
        fields.append(_Field(Column(title=title, right=True), _best))
    if wide or bar is not None:
        fields.append(_Field(Column(title="RESIDUAL", right=True), _residual))
    if wide or bar is None:
        fields.append(_Field(Column(title="TRY", right=True), _attempts))
    fields.append(_Field(Column(title="DEVICE"), _device))
    fields.append(_Field(Column(title="ETA", right=True), _eta))
    return fields


def _status(run: RunRow) -> Cell:
    word = run.result or run.status
    return Cell(text=word, tone=tone_of(word))


def _step(run: RunRow) -> Cell:
    if run.step is None:
        return Cell(text="")
    return Cell(text=f"{run.step}" if run.steps is None else f"{run.step}/{run.steps}")


def _latest(run: RunRow) -> Cell:
    cell = run.metrics.get(run.metric)
    return Cell(text="" if cell is None else shown(cell["latest"]))


def _best(run: RunRow) -> Cell:
    cell = run.metrics.get(run.metric)
    return Cell(text="" if cell is None else shown(cell["best"]))


def _residual(run: RunRow) -> Cell:
    cell = run.metrics.get(RESIDUAL)
    value = None if cell is None else cell["latest"]
    return Cell(text=f"{value:.1e}" if isinstance(value, float) else shown(value))


def _attempts(run: RunRow) -> Cell:
    return Cell(text=str(run.attempt) if run.attempt else "")


def _device(run: RunRow) -> Cell:
    return Cell(text=short_device(run.device or ""))


def _eta(run: RunRow) -> Cell:
    return Cell(text="" if run.eta is None else _range(run.eta))


def _range(eta: Eta) -> str:
    low, high = duration(eta.low), duration(eta.high)
    return low if low == high else f"{low}-{high}"


def _bar(run: RunRow, mark: str) -> Cell:
    if not run.steps or run.step is None:
        return Cell(text="")
    done = round(BAR * min(1.0, run.step / run.steps))
    return Cell(text=mark * done + " " * (BAR - done), tone=tone_of(run.result or run.status))


def _note(run: RunRow) -> str:
    if run.result == "succeeded":
        return ""
    why = run.failure_class or run.rule
    return f"{why}: {run.reason}" if run.result and why else run.reason
