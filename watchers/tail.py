"""metrics.jsonl -> metric lines, as they are written: torn lines, replaced files and all."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from specs.files import MetricLine, parse_metric_line

CHUNK = 1 << 18
"""Bytes read at once, hence also the longest line that can be read; so that no
attempt keeps the others waiting. A line of 256 KiB has some ten thousand metrics.
"""

_ANCHOR = 64
_LARGEST_STEP = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """A complete line that is no metric line. ``offset`` in bytes."""

    offset: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one read brought.

    ``restarted``: the file is another one than before, and ``lines`` are its first ones: forget what
    was read. ``more``: there may be more to read at once. ``bad``: the first few unreadable lines.
    """

    lines: tuple[MetricLine, ...] = ()
    restarted: bool = False
    more: bool = False
    bad: tuple[BadLine, ...] = ()


_QUIET = Batch()


class Tail:
    """A byte cursor into a file that somebody else appends to.

    Only complete lines are taken; the cursor stands behind the last one. NUL bytes around a line
    (a crash leaves runs of them) are stripped. A line longer than CHUNK is passed over, and reported.
    A file that was replaced, truncated, or whose bytes before the cursor have changed is read again
    from its start. Raises OSError for what is worse than a missing file.
    """

    def __init__(self, path: Path, *, chunk: int = CHUNK) -> None:
        self._path = path
        self._chunk = chunk
        self._inode: int | None = None
        self._seen: tuple[int, int, int] | None = None  # of the last look that read all there was
        self._forget()

    @property
    def offset(self) -> int:
        """Bytes taken, all of complete lines (or of one that is being passed over)."""
        return self._offset

    def read(self) -> Batch:
        """The complete lines that came since the last call, at most CHUNK bytes of them."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return _QUIET
        if _mark(status) == self._seen:
            return _QUIET
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return self._read(fd)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> Batch:
        status = os.fstat(fd)
        restarted = self._is_another(fd, status)
        if restarted:
            self._forget()
        self._inode = status.st_ino
        start = self._offset
        data = os.pread(fd, self._chunk, start)
        lines, bad = self._take(data, start)
        more = start + len(data) < status.st_size and self._offset > start
        self._seen = None if more else _mark(status)
        return Batch(lines=lines, restarted=restarted, more=more, bad=bad)

    def _is_another(self, fd: int, status: os.stat_result) -> bool:
        if self._inode is None:
            return False
        if status.st_ino != self._inode:
            return True
        # a file that became shorter has not got these bytes either
        anchor = os.pread(fd, len(self._anchor), self._offset - len(self._anchor))
        return anchor != self._anchor

    def _forget(self) -> None:
        self._offset, self._anchor, self._passing = 0, b"", False

    def _take(self, data: bytes, start: int) -> tuple[tuple[MetricLine, ...], tuple[BadLine, ...]]:
        end = data.rfind(b"\n") + 1
        bad: list[BadLine] = []
        if end == 0 and len(data) == self._chunk:
            if not self._passing:
                bad.append(BadLine(offset=start, why=f"longer than {self._chunk} bytes"))
            self._passing, end = True, len(data)
            self._advance(data, end)
            return (), tuple(bad)
        lines: list[MetricLine] = []
        at = 0
        while at < end:
            stop = data.index(b"\n", at)
            if self._passing:
                self._passing = False
            else:
                _sort_in(data[at:stop], start + at, lines, bad)
            at = stop + 1
        self._advance(data, end)
        return tuple(lines), tuple(bad[:5])

    def _advance(self, data: bytes, end: int) -> None:
        self._offset += end
        self._anchor = (self._anchor + data[:end])[-_ANCHOR:]


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _sort_in(raw: bytes, offset: int, lines: list[MetricLine], bad: list[BadLine]) -> None:
    line = raw.strip(b"\0 \t\r")
    if not line:
        return
    parsed = _parse(line)
    if parsed is None:
        bad.append(BadLine(offset=offset, why=f"no metric line: {line[:80]!r}"))
    else:
        lines.append(parsed)


def _parse(line: bytes) -> MetricLine | None:
    """The metric line; None also where its time or its step is no number that can be kept."""
    try:
        parsed = parse_metric_line(line)
    except OverflowError:  # a whole number too large for a float
        return None
    if parsed is None or not math.isfinite(parsed.t) or not 0 <= parsed.step <= _LARGEST_STEP:
        return None
    return parsed
