"""metrics.jsonl that a user's program writes too: when is it safe to add a line of ours?

Not while its last line is incomplete (the program's buffer was flushed in mid-line), and not while some
process has it open for writing at a position of its own: that would write over what we append. So a
program that opens it with "w" loses nothing, and our lines wait. Standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from specs.files import complete_lines, parse_metric_line

_PROC = Path("/proc")
_TAIL = 1 << 16


class SharedFile:
    """Asks the system who has the file open at most every ``every`` seconds."""

    def __init__(
        self,
        path: Path,
        *,
        every: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        writers: Callable[[Path], bool] | None = None,
    ) -> None:
        self._path = path
        self._every = every
        self._monotonic = monotonic
        self._writers = writers or someone_overwrites
        self._asked = -float("inf")
        self._overwritten = False

    def may_append(self) -> bool:
        now = self._monotonic()
        if now - self._asked >= self._every:
            self._asked, self._overwritten = now, self._writers(self._path)
        return not self._overwritten and ends_whole(self._path)


def ends_whole(path: Path) -> bool:
    """Does the file end with a newline, or hold nothing?"""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            return size == 0 or os.pread(file.fileno(), 1, size - 1) == b"\n"
    except FileNotFoundError:
        return True


def last_step(path: Path) -> int:
    """The step of the newest metric line, whoever wrote it; 0 before the first."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            data = file.read()
    except FileNotFoundError:
        return 0
    parsed = (parse_metric_line(line) for line in reversed(list(complete_lines(data))))
    return next((line.step for line in parsed if line is not None), 0)


def someone_overwrites(path: Path) -> bool:
    """Has a process of our session the file open for writing without O_APPEND?"""
    target = str(path.resolve())
    session = os.getsid(0)
    return any(
        _overwrites(process, target)
        for process in _PROC.iterdir()
        if process.name.isdigit() and _session(int(process.name)) == session
    )


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None  # it has ended


def _overwrites(process: Path, target: str) -> bool:
    try:
        for fd in (process / "fd").iterdir():
            if str(fd.readlink()) == target:
                flags = _flags(process / "fdinfo" / fd.name)
                if flags & os.O_ACCMODE != os.O_RDONLY and not flags & os.O_APPEND:
                    return True
    except OSError:  # it has ended, or it is not ours to look into
        return False
    return False


def _flags(fdinfo: Path) -> int:
    for line in fdinfo.read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8)
    return os.O_RDONLY
