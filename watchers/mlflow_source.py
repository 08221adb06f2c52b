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
from watchers.mlflow_port import LARGEST_BATCH
from watchers.tail import CHUNK

POINTS = LARGEST_BATCH
"""Points in one read: one request, and so what is sent again after a kill. MLflow takes some thousands of
new points a second, but only hundreds that it has already.
"""

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
    """``position``: after the lines, the same as before if there was nothing to read."""

    position: Position
    lines: tuple[MetricLine, ...] = ()
    restarted: bool = False
    bad: int = 0


def read_after(path: Path, at: Position, *, chunk: int = CHUNK, points: int = POINTS) -> Read:
    """Complete lines after a position, at most ``chunk`` bytes and ``points`` points, but one line.

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
    finally:
        os.close(fd)
    if len(data) == chunk and b"\n" not in data:
        passed = _moved(start, data, passing=True)
        return Read(position=passed, restarted=not same, bad=int(not start.passing))
    lines, bad, end = _take(data, points, passing=start.passing)
    position = _moved(start, data[:end], passing=start.passing and end == 0)
    return Read(position=position, lines=lines, restarted=not same, bad=bad)


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


def _take(data: bytes, points: int, *, passing: bool) -> tuple[tuple[MetricLine, ...], int, int]:
    """Lines, how many were bad, and where the last one that was taken ends."""
    lines: list[MetricLine] = []
    bad = at = 0
    while (stop := data.find(b"\n", at)) >= 0:
        raw = b"" if passing else data[at:stop].strip(b"\0 \t\r")
        line = _parse(raw)
        if line is not None:
            points -= len(line.metrics)
            if points < 0 and lines:
                break
            lines.append(line)
        elif raw:
            bad += 1
        passing, at = False, stop + 1
    return tuple(lines), bad, at


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
