"""Rows as aligned text, fast for ten thousand of them. The last column takes the room that is left."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from campaign.cli.paint import paint

NARROW_NOTE = 24
"""A note with less room than this goes on a line of its own."""

_WIDEST = 40


@dataclass(frozen=True, kw_only=True)
class Cell:
    text: str
    tone: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Row:
    """``note``: the sentence that stands in the last column, or below."""

    cells: tuple[Cell, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    title: str
    right: bool = False


def grid(
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    note: str,
    width: int | None,
    colour: bool,
    gap: int = 2,
) -> list[str]:
    """The lines of a table. ``note``: the title of the last column; ``width`` None: nothing is wrapped."""
    shown = [i for i, _ in enumerate(columns) if any(row.cells[i].text for row in rows)]
    widths = [_width(columns[i].title, [row.cells[i].text for row in rows]) for i in shown]
    used = sum(widths) + gap * len(shown)
    noted = any(row.note for row in rows)
    places = [(widths[at], columns[index].right) for at, index in enumerate(shown)]
    head = _line([Cell(text=columns[i].title) for i in shown], places, gap, False)
    lines = [paint((head + (note if noted else "")).rstrip(), "dim", colour)]
    for row in rows:
        cells = [row.cells[i] for i in shown]
        line = _line(cells, places, gap, colour)
        lines += _with_note(line, used, row.note, width)
    return lines


def _width(title: str, texts: Sequence[str]) -> int:
    return min(_WIDEST, max([len(title), *map(len, texts)]))


def _line(cells: Sequence[Cell], places: Sequence[tuple[int, bool]], gap: int, colour: bool) -> str:
    """``places``: the width of each cell, and whether it is put to the right."""
    parts = []
    for cell, (width, right) in zip(cells, places, strict=True):
        text = cell.text if len(cell.text) <= width else cell.text[: width - 1] + "~"
        space = " " * (width - len(text))
        painted = paint(text, cell.tone, colour)
        parts.append((space + painted if right else painted + space) + " " * gap)
    return "".join(parts)


def _with_note(line: str, used: int, note: str, width: int | None) -> list[str]:
    if not note:
        return [line.rstrip()]
    note = " ".join(note.split())
    if width is None:
        return [line + note]
    room = width - used
    if room >= NARROW_NOTE or len(note) <= room:
        first, *more = textwrap.wrap(note, room) or [""]
        return [line + first, *(" " * used + text for text in more)]
    return [line.rstrip(), *(f"    {text}" for text in textwrap.wrap(note, max(20, width - 4)))]
