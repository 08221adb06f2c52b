"""Results to stdout, talk to stderr; JSON in one envelope."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from campaign.cli.grid import Column, Row, grid
from campaign.cli.paint import paint, wants_colour, width_of
from campaign.cli.where import in_this_home
from campaign.rows import as_json

SCHEMA = 1


class ReaderGone(Exception):
    """Whoever read what we write has closed it, as ``| head -1`` does."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        super().__init__("the reader is gone")


def put(text: str = "") -> None:
    """A result."""
    _write(text, sys.stdout)


def put_json(data: Any) -> None:
    """Results for programs: ``{"schema": 1, "data": [...]}``."""
    put(json.dumps({"schema": SCHEMA, "data": data}, default=as_json, allow_nan=False))


def put_grid(columns: Sequence[Column], rows: Sequence[Row], *, note: str = "") -> None:
    """A table of results."""
    out = sys.stdout
    lines = grid(columns, rows, note=note, width=width_of(out), colour=wants_colour(out))
    put("\n".join(lines))


def talk(text: str, tone: str = "plain") -> None:
    """A word on the side."""
    _write(paint(text, tone, wants_colour(sys.stderr)), sys.stderr)


def _write(text: str, stream: TextIO) -> None:
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        raise ReaderGone(stream) from None


def talk_next(*commands: str) -> None:
    """The commands that are useful now, each as it must be typed to mean this home."""
    for index, command in enumerate(commands):
        talk(f"{'next: ' if index == 0 else '      '}{in_this_home(command)}", "dim")


def talk_all(texts: Iterable[str], tone: str = "plain") -> None:
    for text in texts:
        talk(text, tone)
