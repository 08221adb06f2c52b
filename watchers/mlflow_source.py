"""metrics.jsonl -> metric lines after a durable position.

`watchers.tail` keeps its cursor in memory; a publisher must go on where an earlier one was killed. What is
a line, and what is a bad one, is the same there and here (a test compares them).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from specs.files import MetricLine, parse_metric_line
from watchers.tail import CHUNK

_ANCHOR = 64
_LARGEST_STEP = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Position:
    """After ``offset`` bytes, the last of which are ``anchor``; ``passing``: within a line too long."""

    offset: int = 0
    anchor: bytes = b""
    passing: bool = False


START = Position()


@dataclass(frozen=True, kw_only=True)
class Read:
    """``position``: after the lines; ``more``: there may be more to read at once."""

    position: Position
    lines: tuple[MetricLine, ...] = ()
    more: bool = False
    restarted: bool = False
    bad: int = 0


def read_after(path: Path, at: Position, *, chunk: int = CHUNK) -> Read:
    """Complete lines after a position, at most ``chunk`` bytes of them.

    Where the bytes before the position are not the ones that were read, the file is another one and is
    read from its start. Raises OSError for what is worse than a missing file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Read(position=at)
    try:
        same = _is_after(fd, at)
        start = at if same else START
        data = os.pread(fd, chunk, start.offset)
        size = os.fstat(fd).st_size
    finally:
        os.close(fd)
    lines, bad, position = _take(data, start, whole=len(data) == chunk)
    more = position.offset > start.offset and start.offset + len(data) < size
    return Read(position=position, lines=lines, more=more, restarted=not same, bad=bad)


def unread_lines(path: Path, at: Position) -> int:
    """Complete lines after a position."""
    try:
        with path.open("rb") as file:
            file.seek(at.offset if _is_after(file.fileno(), at) else 0)
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except FileNotFoundError:
        return 0


def _is_after(fd: int, at: Position) -> bool:
    return os.pread(fd, len(at.anchor), at.offset - len(at.anchor)) == at.anchor


def _take(
    data: bytes, start: Position, *, whole: bool
) -> tuple[tuple[MetricLine, ...], int, Position]:
    end = data.rfind(b"\n") + 1
    if end == 0 and whole:
        return (), int(not start.passing), _moved(start, data, passing=True)
    lines: list[MetricLine] = []
    bad = 0
    for number, raw in enumerate(data[:end].split(b"\n")[:-1]):
        if number == 0 and start.passing:
            continue
        stripped = raw.strip(b"\0 \t\r")
        line = _parse(stripped)
        if line is not None:
            lines.append(line)
        elif stripped:
            bad += 1
    return tuple(lines), bad, _moved(start, data[:end], passing=start.passing and end == 0)


def _moved(at: Position, taken: bytes, *, passing: bool) -> Position:
    anchor = (at.anchor + taken)[-_ANCHOR:]
    return Position(offset=at.offset + len(taken), anchor=anchor, passing=passing)


def _parse(line: bytes) -> MetricLine | None:
    try:
        parsed = parse_metric_line(line)
    except OverflowError:  # a whole number too large for a float
        return None
    if parsed is None or not math.isfinite(parsed.t) or not 0 <= parsed.step <= _LARGEST_STEP:
        return None
    return parsed
