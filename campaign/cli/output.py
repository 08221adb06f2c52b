"""Results to stdout, talk to stderr; JSON in one envelope."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from campaign.cli.grid import Column, Row, grid
from campaign.cli.paint import paint, wants_colour, width_of
from campaign.cli.where import in_this_home
from campaign.errors import CampaignError, ExitCode
from campaign.rows import as_json

SCHEMA = 1


class ReaderGone(Exception):
    """Whoever read what we write has closed it, as ``| head -1`` does."""


class Unwritable(CampaignError):
    """The result could not be written: a full disk."""

    exit_code = ExitCode.PARTLY_DONE


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
        _give_up(stream)
        raise ReaderGone from None
    except OSError as error:
        _give_up(stream)
        if stream is sys.stderr:
            return  # there is nobody left to tell, and what was asked for is to be done all the same
        raise Unwritable(
            f"standard output cannot be written: {error.strerror}\n"
            "  all but the telling was done; send the output elsewhere and ask again"
        ) from error


def _give_up(stream: TextIO) -> None:
    """What is still in the buffer goes nowhere: else the interpreter would complain of it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def talk_next(*commands: str) -> None:
    """The commands that are useful now, each as it must be typed to mean this home."""
    for index, command in enumerate(commands):
        talk(f"{'next: ' if index == 0 else '      '}{in_this_home(command)}", "dim")


def talk_all(texts: Iterable[str], tone: str = "plain") -> None:
    for text in texts:
        talk(text, tone)
