"""The watcher of a host: polls all its attempts, and lets none disturb another."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from specs.files import AttemptFiles
from watchers.attempt import Ports, Watched, not_known
from watchers.findings import of_trouble
from watchers.journal import Fsync, Journal
from watchers.verdict import Killer

POLL_EVERY = 0.05
"""Seconds between two looks; a rule's verdict comes half of that after its line, on average."""

IDLE_EVERY = 0.1
"""The same while there is nothing to watch."""

FIRST_RETRY, LAST_RETRY = 0.1, 10.0

log = logging.getLogger(__name__)


@dataclass
class _Place:
    """An attempt that is to be watched; ``watched`` None: not yet, or not at the moment."""

    directory: Path
    watched: Watched | None = None
    failures: int = 0
    retry_at: float = 0.0
    trouble: str | None = None


class Watcher:
    """Watches the attempts of one host. Not thread-safe: one thread calls it.

    An error of one attempt throws its state away; it is read again from its files, after a pause
    that doubles from FIRST_RETRY to LAST_RETRY seconds. The error is logged once, and becomes one
    alert in the attempt's watch.jsonl as soon as that can be written.
    """

    def __init__(
        self,
        killer: Killer,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        alive: Callable[[Path], bool | None] = not_known,
        fsync: Fsync = os.fsync,
    ) -> None:
        self._ports = Ports(
            killer=killer, clock=clock, monotonic=monotonic, alive=alive, fsync=fsync
        )
        self._places: dict[Path, _Place] = {}

    def sync(self, directories: Sequence[Path]) -> None:
        """Watch exactly these attempts: new ones are begun, missing ones are let go of."""
        self._places = {
            directory: self._places.get(directory) or _Place(directory=directory)
            for directory in directories
        }

    @property
    def busy(self) -> bool:
        """Is there an attempt that is not closed?"""
        return any(p.watched is None or not p.watched.closed for p in self._places.values())

    def poll(self) -> bool:
        """One pass over all attempts. True if one of them has more to read at once."""
        more = False
        for place in self._places.values():
            if place.watched is None and self._ports.monotonic() < place.retry_at:
                continue
            try:
                more = self._poll(place) or more
            except Exception as error:  # noqa: BLE001 - whatever one attempt does, the others go on
                self._fail(place, error)
        return more

    def _poll(self, place: _Place) -> bool:
        if place.watched is None:
            place.watched = Watched(place.directory, self._ports)
        more = place.watched.poll()
        if place.failures > 1 and place.trouble is not None and not place.watched.closed:
            place.watched.say(_name(place.trouble), f"it works again; before: {place.trouble}")
        place.failures, place.trouble = 0, None
        return more

    def _fail(self, place: _Place, error: Exception) -> None:
        trouble = f"{type(error).__name__}: {error}"
        if trouble != place.trouble:
            log.error("watching %s failed, trying again: %s", place.directory, trouble)
        elif place.failures == 1:  # it came twice: it will not go away by itself
            self._say(place, trouble)
        place.watched, place.trouble = None, trouble
        pause = min(LAST_RETRY, FIRST_RETRY * 2**place.failures)
        place.failures = min(place.failures + 1, 16)
        place.retry_at = self._ports.monotonic() + pause

    def _say(self, place: _Place, trouble: str) -> None:
        """The alert for an attempt that cannot even be begun."""
        finding = of_trouble(_name(trouble), f"this attempt cannot be watched: {trouble}")
        try:
            journal = Journal(AttemptFiles(root=place.directory).watch, fsync=self._ports.fsync)
            if finding.key not in journal.keys:
                journal.add(finding.as_line(t=self._ports.clock(), latency_s=None))
                journal.flush()
        except OSError as error:
            log.error("and it cannot be noted in %s: %s", place.directory, error)


def _name(trouble: str) -> str:
    return hashlib.sha256(trouble.encode(errors="backslashreplace")).hexdigest()[:12]


def run_forever(
    watcher: Watcher, stop: threading.Event, wanted: Callable[[], Sequence[Path]]
) -> None:
    """Watch what ``wanted`` says until ``stop`` is set: a look every POLL_EVERY seconds."""
    complained = False
    while not stop.is_set():
        began = time.monotonic()
        try:
            watcher.sync(wanted())
            complained = False
        except Exception:  # whoever is asked, what is known stays watched
            if not complained:
                log.exception("the list of attempts to watch is not to be had; keeping the old one")
            complained = True
        if not watcher.poll():
            every = POLL_EVERY if watcher.busy else IDLE_EVERY
            stop.wait(max(0.0, began + every - time.monotonic()))
