"""Where in a TOML file a key stands: tomllib tells of values only what they are. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"'-]+(?:\s*\.\s*[A-Za-z0-9_\"'-]+)*)\s*=")
_SYNTAX = re.compile(r"\(at line (\d+), column (\d+)\)")


def line_of(text: str, path: Sequence[int | str]) -> int | None:
    """The line, from 1, of the key at ``path``, or of its nearest table; None where neither is found.

    A key inside a text of several lines may be taken for one: the line is for people.
    """
    names = tuple(str(part) for part in path)
    best: tuple[int, int] | None = None
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = found = _names(header[1])
        elif key := _KEY.match(line):
            found = (*table, *_names(key[1]))
        else:
            continue
        if found == names[: len(found)] and (best is None or len(found) > best[0]):
            best = (len(found), number)
    return None if best is None else best[1]


def place_in(message: str, text: str) -> str:
    """``:3:7`` out of a message of tomllib; the last line where it says that the text ended too early."""
    found = _SYNTAX.search(message)
    return f":{found[1]}:{found[2]}" if found else f":{max(1, len(text.splitlines()))}"


def _names(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
