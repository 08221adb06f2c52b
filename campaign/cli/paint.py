"""Colour and width, where there is a terminal that wants them."""

from __future__ import annotations

import os
import shutil
from typing import TextIO

_CODES = {
    "good": "32",
    "bad": "31",
    "notice": "33",
    "busy": "36",
    "dim": "2",
    "bold": "1",
    "alarm": "1;31",
}
_TONES = {
    "succeeded": "good",
    "certified": "good",
    "free": "good",
    "ok": "good",
    "failed": "bad",
    "killed": "bad",
    "lost": "bad",
    "revoked": "bad",
    "quarantined": "bad",
    "down": "bad",
    "fail": "bad",
    "cancelled": "notice",
    "foreign": "notice",
    "ghost": "notice",
    "unknown": "notice",
    "excluded": "dim",
    "warn": "notice",
    "alert": "notice",
    "kill": "bad",
    "rollback": "bad",
    "active": "busy",
    "ours": "busy",
}
NARROWEST = 40


def wants_colour(stream: TextIO) -> bool:
    """Not for a file or a pipe, not with NO_COLOR, not on a dumb terminal."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, tone: str, on: bool) -> str:
    """``text`` in the colour of a tone; as it is where there is no such tone, or no colour."""
    code = _CODES.get(tone)
    return f"\x1b[{code}m{text}\x1b[0m" if on and code and text else text


def tone_of(word: str) -> str:
    """The tone of a status or a result."""
    return _TONES.get(word, "plain")


def width_of(stream: TextIO) -> int | None:
    """Columns; None for a file or a pipe, where nothing is cut or wrapped (unless COLUMNS says so)."""
    if not stream.isatty() and not os.environ.get("COLUMNS"):
        return None
    return max(NARROWEST, shutil.get_terminal_size().columns)


def speaks_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"
