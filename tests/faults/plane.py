"""A real plane in a home of its own: controller, Ray, watcher, publisher. Ended by identity."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from campaign import ray_head
from campaign.api import Client
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from campaign.rows import RunRow
from specs import files

DEADLINE = 90.0


def await_that(what: str, holds: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """The first true answer of ``holds``; fails with ``what`` when there is none in time."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        if answer := holds():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {deadline:.0f} s: {what}")


class Plane:
    def __init__(self, home: Path) -> None:
        self.client = Client(home)
        self.home = self.client.home

    def run(self, name: str) -> RunRow:
        return next(row for row in self.client.runs() if row.run == name)

    def files(self, campaign: str, run: str, attempt: int = 1) -> files.AttemptFiles:
        return files.AttemptFiles(root=self.home.attempt(campaign, run, attempt))

    def trainer(self, campaign: str, run: str, attempt: int = 1) -> Identity | None:
        """The identity of a trainer that runs."""
        record = files.read_json(self.files(campaign, run, attempt).pid)
        if record is None or not record.get("trainer"):
            return None
        return identity.from_json(record["trainer"], boot=record["boot_id"], cookie=None)

    def controller(self) -> Identity | None:
        return _identity(self.home.controller_file)

    def publisher(self) -> Identity | None:
        return _identity(self.home.publisher_file)

    def ray(self) -> tuple[Identity, ...]:
        """Every process of Ray, the workers that hold supervisor and watcher among them."""
        head = ray_head.recorded(self.home)
        return () if head is None else ray_head.note_processes(self.home, head).processes

    def actor(self, name: str) -> Identity:
        """The worker process of an actor, by the title that Ray gives it below this head."""
        titles = {
            p.pid: " ".join(psutil.Process(p.pid).cmdline())
            for p in self.ray()
            if identity.is_alive(p)
        }
        pid = next(pid for pid, title in titles.items() if name in title)
        found = identity.of(pid)
        assert found is not None
        return found

    def end(self) -> None:
        self.client.down(stop_runs=True)


@contextmanager
def plane(home: Path) -> Iterator[Plane]:
    made = Plane(home)
    try:
        yield made
    finally:
        made.end()


def kill(*victims: Identity | None) -> None:
    """SIGKILL, by identity, and wait until they are gone."""
    for victim in victims:
        if victim is not None:
            identity.send(victim, signal.SIGKILL)
            identity.wait_gone(victim, 10.0)


def _identity(path: Path) -> Identity | None:
    record = files.read_json(path)
    if record is None:
        return None
    found = Identity(
        boot_id=record["boot_id"], pid=record["pid"], start_ticks=record["start_ticks"]
    )
    return found if identity.is_alive(found) else None


def script(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text)
    path.chmod(0o700)
    return str(path)
