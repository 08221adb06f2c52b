"""Keeps the MLflow publisher of a home running; it is a process of its own and may die any time."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

from campaign.control import alive_in
from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from specs import files

RESTART_AFTER = 5.0
FLUSH_DEADLINE = 60.0
KILL_DEADLINE = 5.0


class PublisherProcess:
    """Starts the publisher, starts it again when it is gone, ends it with everything published.

    A publisher that an earlier controller left behind is recognised by its identity and kept.
    """

    def __init__(self, home: Home, *, tracking_uri: str | None, clock: Callable[[], float]) -> None:
        self._home = home
        self._uri = tracking_uri
        self._clock = clock
        self._child: subprocess.Popen[bytes] | None = None
        self._next_start = 0.0

    def tend(self) -> None:
        """Called often; returns at once."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
            self._next_start = self._clock() + RESTART_AFTER
        if self._child is None and self._clock() >= self._next_start:
            self._next_start = self._clock() + RESTART_AFTER
            if alive_in(self._home.publisher_file) is None:
                self._start()

    def close(self) -> None:
        """Ask the publisher to publish what there is and to end."""
        end(self._home)

    def _argv(self) -> list[str]:
        argv = [
            sys.executable,
            "-P",
            "-m",
            "watchers.publish_mlflow",
            "--home",
            str(self._home.root),
        ]
        return argv if self._uri is None else [*argv, "--tracking-uri", self._uri]

    def _start(self) -> None:
        with self._home.publisher_log.open("ab") as log:
            self._child = subprocess.Popen(
                self._argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if (me := identity.of(self._child.pid)) is not None:
            files.write_json(self._home.publisher_file, me.to_json())


def end(home: Home) -> Identity | None:
    """End the publisher on record, with everything published; the one that was ended.

    One that hangs in a call is killed after FLUSH_DEADLINE seconds: the next goes on at its cursor.
    """
    found = alive_in(home.publisher_file)
    if found is not None:
        identity.send(found, signal.SIGTERM)
        if not identity.wait_gone(found, FLUSH_DEADLINE):
            identity.send(found, signal.SIGKILL)
            identity.wait_gone(found, KILL_DEADLINE)
    home.publisher_file.unlink(missing_ok=True)
    return found
