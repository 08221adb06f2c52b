"""metrics.jsonl, written by a thread of its own: training hands a line over and goes on.

No line is ever dropped. While the disk refuses, lines wait in memory and the thread tries again. A
process that dies loses what it handed over within the last moment, and no line of the file is torn
but the last.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from specs.files import metric_line

PATIENCE = 60.0
"""Seconds that `flush` and `close` wait for a disk that refuses."""

_RETRY = 0.2


class MetricsStuck(OSError):
    """Metric lines could not be written within the time; they are still in memory."""


class MetricWriter:
    """One writer of one attempt.

    ``wall`` gives the time of a line. ``may_write`` is asked before each write: a wrapper says no while
    the program is in the middle of a line of its own; at `close` it is not asked any more.
    """

    def __init__(
        self,
        path: Path,
        *,
        wall: Callable[[], float] = time.time,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._path = path
        self._wall = wall
        self._may_write = may_write
        self._order = threading.Lock()
        self._step = 0
        self._phase: str | None = None
        self._lines: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._write_all, daemon=True, name="metrics")
        self._thread.start()

    def reach(self, step: int, phase: str | None = None) -> None:
        """The step that is done now: what `emit_now` is filed under. ``phase``: of the training, if it has
        any; it is named in every line from here on."""
        with self._order:
            self._step, self._phase = step, phase

    def emit(self, step: int, metrics: Mapping[str, float]) -> None:
        """File the metrics of a step. Returns at once."""
        with self._order:
            self._step = step
            self._put(step, metrics)

    def emit_now(self, metrics: Mapping[str, float]) -> None:
        """File metrics that belong to no step under the present one, from any thread."""
        with self._order:
            self._put(self._step, metrics)

    def flush(self, *, patience: float = PATIENCE) -> None:
        """Return once all that was emitted is on the disk. Raises MetricsStuck after ``patience`` s."""
        written = threading.Event()
        self._lines.put(written)
        if not written.wait(patience):
            raise MetricsStuck(f"{self._path}: {self._problem or 'its writer is busy'}")

    def close(self, *, patience: float = PATIENCE) -> None:
        """Write and sync what is left, then end the thread. Raises MetricsStuck after ``patience`` s."""
        self._closing.set()
        self._lines.put(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            raise MetricsStuck(f"{self._path}: {self._problem or 'its writer is busy'}")

    def _put(self, step: int, metrics: Mapping[str, float]) -> None:
        if metrics:
            self._lines.put(metric_line(self._wall(), step, metrics, self._phase))

    # ------------------------------------------------------------ the writer's thread

    def _write_all(self) -> None:
        file = _Appender(self._path)
        item = self._lines.get()
        while item is not None:
            if isinstance(item, threading.Event):
                self._persist(file.sync)
                item.set()
                item = self._lines.get()
            else:
                item = self._write_run(file, item)
        self._persist(file.sync)
        file.close()

    def _write_run(self, file: _Appender, first: bytes) -> bytes | threading.Event | None:
        """Write ``first`` and the lines right behind it in one go; returns what came after them."""
        data = [first]
        while isinstance(item := self._next(), bytes):
            data.append(item)
        while not (self._closing.is_set() or self._may_write()):
            self._closing.wait(_RETRY)
        file.add(b"".join(data))
        self._persist(file.write)
        return self._lines.get() if item is _NOTHING else item

    def _next(self) -> bytes | threading.Event | None:
        try:
            return self._lines.get_nowait()
        except queue.Empty:
            return _NOTHING

    def _persist(self, action: Callable[[], None]) -> None:
        """Try until it succeeds; say once what is wrong."""
        while True:
            try:
                action()
            except OSError as error:
                if self._problem is None:
                    print(f"metrics wait: {self._path}: {error}", file=sys.stderr, flush=True)
                self._problem = str(error)
                time.sleep(_RETRY)
            else:
                self._problem = None
                return


_NOTHING = threading.Event()


class _Appender:
    """The end of a file. Data that was half written when the disk refused is continued, not repeated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._left = b""
        self._begun = False  # part of what is left has been written

    def add(self, data: bytes) -> None:
        self._left += data

    def write(self) -> None:
        """Raises OSError; call again."""
        if self._fd is None:
            self._fd = os.open(
                self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        if self._left and not self._begun and _is_torn(self._fd):
            self._left = b"\n" + self._left  # a line that nobody will finish: ours stand alone
        while self._left:
            self._left = self._left[os.write(self._fd, self._left) :]
            self._begun = bool(self._left)

    def sync(self) -> None:
        self.write()
        if self._fd is not None:
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _is_torn(fd: int) -> bool:
    """Does the file end in the middle of a line?"""
    size = os.fstat(fd).st_size
    return size > 0 and os.pread(fd, 1, size - 1) != b"\n"
