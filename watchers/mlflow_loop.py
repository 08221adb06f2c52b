"""The publisher's loop: rounds, outages, and when to end. It knows neither MLflow nor processes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from watchers.mlflow_mirror import Mirror
from watchers.mlflow_port import TrackingProblem

POLL = 1.0
LONGEST_WAIT = 30.0
FLUSH_DEADLINE = 45.0
"""Seconds that a publisher which was told to end goes on publishing what there is."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """``points``: accepted by MLflow, replayed ones too; ``left``: what could not be published, and why."""

    points: int
    left: dict[str, str]


class Publisher:
    """Rounds over ``find``'s directories until told to stop.

    ``open_mirror`` connects to the store; ``forsaken`` is given the seconds since a point was published
    and says why nobody needs this publisher any more, or None.
    """

    def __init__(
        self,
        *,
        find: Callable[[], Iterator[Path]],
        open_mirror: Callable[[], Mirror],
        say: Callable[[str], None],
        forsaken: Callable[[float], str | None] = lambda idle: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._open_mirror = open_mirror
        self._say = say
        self._forsaken = forsaken
        self._clock = clock
        self._mirror: Mirror | None = None
        self._down_since: float | None = None
        self._why_down = ""
        self.stopping = threading.Event()

    def run(self) -> Published:
        """Until `stopping` is set; then what there is is published, unless the store is down."""
        wait, published, since = 0.0, 0, self._clock()
        while not self.stopping.wait(wait):
            wait = self._round(until=None, wait=wait)
            if self._published() > published:
                published, since = self._published(), self._clock()
            if (why := self._forsaken(self._clock() - since)) is not None:
                self._say(f"nobody needs this publisher any more: {why}")
                return self._result()
        if self._down_since is None:
            self._round(until=self._clock() + FLUSH_DEADLINE, wait=0.0)
        return self._result()

    def run_once(self, patience: float) -> Published:
        """All there is. An outage, or an attempt in trouble, is waited for ``patience`` seconds."""
        deadline, wait = self._clock() + patience, 0.0
        while not self.stopping.wait(wait):
            before = self._published()
            wait = self._round(until=None, wait=wait)
            if self._down_since is None and not self._paused():
                break
            if self._published() > before:
                deadline = self._clock() + patience
            if self._clock() >= deadline:
                break
        return self._result()

    def _round(self, *, until: float | None, wait: float) -> float:
        """Publish till there is no more at present; the seconds to wait before the next round."""
        try:
            if self._mirror is None:
                self._mirror = self._open_mirror()
            while self._mirror.advance(self._find()):
                if until is not None and self._clock() >= until:
                    break
                if until is None and self.stopping.is_set():
                    break
        except (TrackingProblem, sqlite3.OperationalError) as error:
            # OperationalError: our own ledger cannot be written, on a full disk say
            return self._outage(str(error), wait)
        if self._down_since is not None:
            self._say(f"MLflow is back after {self._clock() - self._down_since:.0f} s")
            self._down_since = None
        return POLL

    def _outage(self, why: str, wait: float) -> float:
        if self._down_since is None or why != self._why_down:
            self._say(f"MLflow cannot be reached, points wait in metrics.jsonl: {why}")
        self._down_since = self._clock() if self._down_since is None else self._down_since
        self._why_down = why
        return min(LONGEST_WAIT, max(POLL, wait * 2))

    def _published(self) -> int:
        return 0 if self._mirror is None else self._mirror.published

    def _paused(self) -> dict[Path, str]:
        return {} if self._mirror is None else self._mirror.paused

    def _result(self) -> Published:
        left = {str(path): why for path, why in self._paused().items()}
        if self._down_since is not None:
            left["MLflow"] = self._why_down
        return Published(points=self._published(), left=left)
