"""metrics.jsonl -> metric lines, as they are written: torn lines, replaced files and all.

What is a line is decided here once: by `Tail` for a watcher, which remembers in memory where it was, and
by `read_after` for the publisher, whose position is durable.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from specs.files import MetricLine, parse_metric_line
from watchers.bad_line import LARGEST_STEP, why_not

CHUNK = 1 << 18
"""Bytes read at once, hence also the longest line that can be read; so that no
attempt keeps the others waiting. A line of 256 KiB has some ten thousand metrics.
"""

_ANCHOR = 64
_TOLD = 5
"""Bad lines of one read that are described; the others are only counted."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """After ``offset`` bytes, the last of which are ``anchor``; ``passing``: within a line too long."""

    offset: int = 0
    anchor: bytes = b""
    passing: bool = False


START = Position()


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """A complete line that is no metric line. ``offset`` in bytes."""

    offset: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Read:
    """``position``: after the lines, the same as before if there was nothing to read.

    ``restarted``: the file is another one than before, and ``lines`` are its first ones: forget what
    was read. ``more``: there may be more to read at once. ``bad``: the first few unreadable lines, of
    ``bad_lines`` in all.
    """

    position: Position
    lines: tuple[MetricLine, ...] = ()
    restarted: bool = False
    more: bool = False
    bad: tuple[BadLine, ...] = ()
    bad_lines: int = 0


def read_after(path: Path, at: Position, *, chunk: int = CHUNK, points: int | None = None) -> Read:
    """Complete lines after a position, at most ``chunk`` bytes and ``points`` points, but one line.

    NUL bytes around a line (a crash leaves runs of them) are stripped. A line longer than ``chunk`` is
    passed over, and reported. Where the bytes before the position are not the ones that were read, the
    file is another one and is read from its start. Raises OSError for what is worse than a missing file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Read(position=at)
    try:
        return _read(fd, at, chunk, points, same=follows(fd, at))
    finally:
        os.close(fd)


def follows(fd: int, at: Position) -> bool:
    """Whether the bytes before the position are still the ones that were read."""
    # a file that became shorter has not got these bytes either
    return os.pread(fd, len(at.anchor), at.offset - len(at.anchor)) == at.anchor


class Tail:
    """A byte cursor into a file that somebody else appends to, kept in memory.

    Beside the rules of `read_after`, a file that was replaced by another is read from its start.
    """

    def __init__(self, path: Path, *, chunk: int = CHUNK) -> None:
        self._path = path
        self._chunk = chunk
        self._inode: int | None = None
        self._seen: tuple[int, int, int] | None = None  # of the last look that read all there was
        self._at = START

    @property
    def offset(self) -> int:
        """Bytes taken, all of complete lines (or of one that is being passed over)."""
        return self._at.offset

    def read(self) -> Read:
        """The complete lines that came since the last call, at most CHUNK bytes of them."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return Read(position=self._at)
        if _mark(status) == self._seen:
            return Read(position=self._at)
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            same = self._inode in (None, status.st_ino) and follows(fd, self._at)
            read = _read(fd, self._at, self._chunk, None, same=same)
        finally:
            os.close(fd)
        self._inode, self._at = status.st_ino, read.position
        self._seen = None if read.more else _mark(status)
        return read


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


# ---------------------------------------------------------------- bytes to lines


def _read(fd: int, at: Position, chunk: int, points: int | None, *, same: bool) -> Read:
    start = at if same else START
    data = os.pread(fd, chunk, start.offset)
    full = len(data) == chunk
    if full and b"\n" not in data:
        bad = () if start.passing else (_bad(start.offset, f"longer than {chunk} bytes"),)
        return Read(
            position=_moved(start, data, passing=True),
            restarted=not same,
            more=True,
            bad=bad,
            bad_lines=len(bad),
        )
    lines, bad_lines, end = _take(data, start, points)
    return Read(
        position=_moved(start, data[:end], passing=start.passing and end == 0),
        lines=tuple(lines),
        restarted=not same,
        more=full or (points is not None and end < len(data) and bool(lines)),
        bad=tuple(bad_lines[:_TOLD]),
        bad_lines=len(bad_lines),
    )


def _take(
    data: bytes, start: Position, points: int | None
) -> tuple[list[MetricLine], list[BadLine], int]:
    """Lines, bad ones, and where the last one that was taken ends."""
    lines: list[MetricLine] = []
    bad: list[BadLine] = []
    at, left, passing = 0, math.inf if points is None else points, start.passing
    while (stop := data.find(b"\n", at)) >= 0:
        raw = b"" if passing else data[at:stop].strip(b"\0 \t\r")
        line = _parse(raw) if raw else None
        if line is not None:
            left -= len(line.metrics)
            if left < 0 and lines:
                break
            lines.append(line)
        elif raw:
            bad.append(_bad(start.offset + at, why_not(raw) if len(bad) < _TOLD else ""))
        passing, at = False, stop + 1
    return lines, bad, at


def _bad(offset: int, why: str) -> BadLine:
    return BadLine(offset=offset, why=why)


def _moved(at: Position, taken: bytes, *, passing: bool) -> Position:
    anchor = (at.anchor + taken[-_ANCHOR:])[-_ANCHOR:]
    return Position(offset=at.offset + len(taken), anchor=anchor, passing=passing)


def _parse(line: bytes) -> MetricLine | None:
    """The metric line; None also where its time or its step is no number that can be kept."""
    try:
        parsed = parse_metric_line(line)
    except OverflowError:  # a whole number too large for a float
        return None
    if parsed is None or not math.isfinite(parsed.t) or not 0 <= parsed.step <= LARGEST_STEP:
        return None
    return parsed
