"""Keeps the MLflow publisher of a home running; it is a process of its own and may die any time."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from specs import files

RESTART_AFTER = 5.0
FLUSH_DEADLINE = 60.0


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
            if self._left_behind() is None:
                self._start()

    def close(self) -> None:
        """Ask the publisher to publish what there is and to end."""
        found = self._left_behind()
        if found is None:
            return
        identity.send(found, signal.SIGTERM)
        identity.wait_gone(found, FLUSH_DEADLINE)
        self._home.publisher_file.unlink(missing_ok=True)

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
            files.write_json(
                self._home.publisher_file,
                {"boot_id": me.boot_id, "pid": me.pid, "start_ticks": me.start_ticks},
            )

    def _left_behind(self) -> Identity | None:
        """The publisher on record, if it is alive."""
        record = files.read_json(self._home.publisher_file)
        if record is None:
            return None
        found = Identity(
            boot_id=record["boot_id"], pid=record["pid"], start_ticks=record["start_ticks"]
        )
        return found if identity.is_alive(found) else None
