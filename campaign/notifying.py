"""Keeps the notifier of a home running; it is a process of its own and may die any time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from campaign.home import Home

PAUSES = (5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds before it is started again, by how often it ended in a row."""

HEALTHY_AFTER = 60.0
CLOSE_DEADLINE = 15.0


class NotifierProcess:
    """Starts the notifier and starts it again when it is gone. ``urls``: references, never URLs.

    It ends by itself when this process dies, so none is left behind with an older configuration.
    """

    def __init__(
        self, home: Home, *, desktop: bool, urls: Sequence[str], clock: Callable[[], float]
    ) -> None:
        self._home = home
        self._clock = clock
        self._argv = [sys.executable, "-P", "-m", "campaign.notifier", "--home", str(home.root)]
        self._argv += ["--starter", str(os.getpid())]
        self._argv += ["--desktop"] if desktop else []
        self._argv += [f"--url={url}" for url in urls]
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._ends = 0
        self._next_start = 0.0

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def tend(self) -> None:
        """Called often; returns at once."""
        now = self._clock()
        if self._child is not None and self._child.poll() is not None:
            self._child = None
            self._ends = 0 if now - self._started > HEALTHY_AFTER else self._ends
            self._next_start = now + PAUSES[min(self._ends, len(PAUSES) - 1)]
            self._ends += 1
        if self._child is None and now >= self._next_start:
            self._started = now
            with self._home.controller_log.open("ab") as log:
                self._child = subprocess.Popen(
                    self._argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def close(self) -> None:
        """Ask it to send what there is and to end. What it has not sent by then is sent later."""
        if (child := self._child) is None:
            return
        child.terminate()
        try:
            child.wait(CLOSE_DEADLINE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
