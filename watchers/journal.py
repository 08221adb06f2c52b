"""watch.jsonl: what the watcher has stated of an attempt, durable, each key once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from specs.files import complete_lines, fsync_dir

Fsync = Callable[[int], None]


class Journal:
    """Reads what is there, then appends. One writer; lines wait in memory until ``flush``.

    Raises OSError where the disk refuses. The file may then hold some of the lines: whoever gets the
    error drops the Journal and makes another, which reads what did get there.
    """

    def __init__(self, path: Path, *, fsync: Fsync = os.fsync) -> None:
        self._path = path
        self._fsync = fsync
        self._waiting: list[bytes] = []
        self.lines: tuple[dict[str, Any], ...] = _read(path)
        self.keys = {str(line["key"]) for line in self.lines}

    def add(self, line: Mapping[str, object]) -> None:
        """Put a line in the queue. Its key must be new."""
        key = str(line["key"])
        if key in self.keys:
            raise ValueError(f"{self._path} already has a line with the key {key!r}")
        self.keys.add(key)
        self._waiting.append(json.dumps(line, allow_nan=False).encode() + b"\n")

    def flush(self) -> None:
        """Returns once every line added is on the disk."""
        if self._waiting:
            self._append(b"".join(self._waiting))
            self._waiting.clear()

    def sync(self) -> None:
        """Returns once what was read at the start is on the disk: a crash may have come before."""
        if self.lines:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._fsync(fd)
            finally:
                os.close(fd)

    def _append(self, data: bytes) -> None:
        is_new = not self._path.exists()
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                data = b"\n" + data  # close the torn line of a crash
            while data:
                data = data[os.write(fd, data) :]
            self._fsync(fd)
        finally:
            os.close(fd)
        if is_new:
            fsync_dir(self._path.parent)


def _read(path: Path) -> tuple[dict[str, Any], ...]:
    """The complete lines that are JSON objects with a key; torn ones are no lines."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    found = []
    for raw in complete_lines(data):
        try:
            line = json.loads(raw.strip(b"\0"))
        except ValueError:  # a torn line that was closed later
            continue
        if isinstance(line, dict) and "key" in line:
            found.append(line)
    return tuple(found)
