"""A program that only prints: its log lines, each read once, as metrics. Standard library only."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from specs.pattern import KEY, STEP, VALUE, LinePattern

LONGEST = 4096
"""Characters of a line that are matched; a progress bar may well print a megabyte without a newline."""

_CHUNK = 1 << 20
_LINE_END = re.compile(rb"[\r\n]+")
_LARGEST_STEP = 2**63 - 1

Emit = Callable[[int, Mapping[str, float]], None]


class LineReader:
    """Turns the lines of one log into metrics.

    Without a ``step`` group the n-th line that matches is step n. With one, a line that matches
    without it has the step of the line before.
    """

    def __init__(self, pattern: LinePattern, *, emit: Emit, note: Callable[[str], None]) -> None:
        self._pattern = pattern
        self._emit = emit
        self._note = note
        self._noted: set[str] = set()
        self._step = 0

    def take(self, line: bytes) -> None:
        """One complete line; nothing happens if the pattern is not in it."""
        text = line[: 4 * LONGEST].decode("utf-8", "replace")[:LONGEST]
        metrics: dict[str, float] = {}
        step: int | None = None
        for match in self._pattern.regex.finditer(text):
            found = match.groupdict()
            if found.get(STEP) is not None:
                step = self._whole(found[STEP], text)
            for name, value in self._pairs(found):
                number = self._number(name, value, text)
                if number is not None:
                    metrics[name] = number
        if self._pattern.has_step:
            self._step = self._step if step is None else step
        elif metrics:
            self._step += 1
        if metrics:
            self._emit(self._step, metrics)

    def _pairs(self, found: Mapping[str, str | None]) -> list[tuple[str, str]]:
        pairs = [
            (metric, value)
            for group, metric in self._pattern.named.items()
            if (value := found[group]) is not None
        ]
        key, value = found.get(KEY), found.get(VALUE)
        return [*pairs, (key, value)] if key and value is not None else pairs

    def _number(self, name: str, value: str, line: str) -> float | None:
        try:
            return float(value)
        except ValueError:
            self._once(name, f"{name} = {value[:40]!r}, which is no number: {line[:80]!r}")
            return None

    def _whole(self, value: str, line: str) -> int | None:
        try:
            step = int(value)
        except ValueError:
            step = -1
        if not 0 <= step <= _LARGEST_STEP:
            self._once(STEP, f"step {value[:40]!r}, which is no step: {line[:80]!r}")
            return None
        return step

    def _once(self, name: str, what: str) -> None:
        """Say it of the first line only: a program may print such a line at every step."""
        if name not in self._noted:
            self._noted.add(name)
            self._note(f"metrics.pattern found {what}")


class LogFollower:
    """Hands every line that is written to ``path`` behind ``offset`` to ``take``, each once.

    Carriage returns end a line too, as progress bars use them. `close` takes what came since, and the
    last line though it has no end.
    """

    def __init__(
        self, path: Path, offset: int, take: Callable[[bytes], None], *, every: float = 0.05
    ) -> None:
        self._path = path
        self._offset = offset
        self._take = take
        self._every = every
        self._begun = b""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="log")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Return once everything that is in the log now has been taken."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.read()
        if self._begun:
            self._take(self._begun)
            self._begun = b""

    def read(self) -> None:
        """Take the lines that were completed since the last call."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            while data := os.pread(fd, _CHUNK, self._offset):
                self._offset += len(data)
                self._split(data)
        finally:
            os.close(fd)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.read()

    def _split(self, data: bytes) -> None:
        *lines, last = _LINE_END.split(data)
        if lines:
            self._take(self._begun + lines[0])
            for line in lines[1:]:
                self._take(line)
            self._begun = last
        elif len(self._begun) < 4 * LONGEST:  # what lies further back in a line is not matched
            self._begun += last
