"""events.jsonl: the facts that a trainer process states, each on the disk before it goes on.

started  resumed  warm_started  checkpoint  note  finished  stopped  exited  failed {class, message}
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from specs.files import append_line
from trainers.clock import SYSTEM_CLOCK, Clock


class EventLog:
    """Any thread may state a fact. Where the disk refuses, the log gets it instead: no training ends
    for want of a line that says how it goes."""

    def __init__(self, path: Path, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: set[str] = set()
        self._failures: set[tuple[str, str]] = set()

    def state(self, event: str, **facts: object) -> None:
        """Append one fact; its time is now."""
        with self._lock:
            try:
                append_line(self._path, {"t": self._clock.wall(), "event": event, **facts})
            except OSError as error:
                print(
                    f"{event} {facts} is not in {self._path}: {error}", file=sys.stderr, flush=True
                )

    def failed(self, failure_class: str, message: str) -> None:
        """How the training failed. The same failure is stated once: who finds it may do so before it is raised."""
        with self._lock:
            if (failure_class, message) in self._failures:
                return
            self._failures.add((failure_class, message))
        self.state("failed", **{"class": failure_class, "message": message})

    def note(self, message: str) -> None:
        """Something that people should know and that stops nothing. The same message is stated once."""
        with self._lock:
            if message in self._noted:
                return
            self._noted.add(message)
        self.state("note", message=message)
