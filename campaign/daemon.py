"""The controller's process: one a home, held by a kernel lock; starts link, publisher, notifier.

``python -P -m campaign.daemon --home H``. It may be killed at any moment. Its own end is orderly:
`campaign down`, SIGTERM, or ten idle minutes if it was started by `submit`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import queue
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO

from campaign import config
from campaign.controller import Controller
from campaign.errors import CampaignError, ExitCode
from campaign.home import Home
from campaign.hosts import identity
from campaign.links import Facts, RayLink
from campaign.notifying import NotifierProcess
from campaign.publishing import PublisherProcess
from campaign.store import Store
from specs import files


class AlreadyRunning(CampaignError):
    """Another controller holds this home."""

    exit_code = ExitCode.WRONG_STATE


def hold_home(home: Home) -> IO[bytes]:
    """The lock of the home's one controller; the kernel frees it when the holder dies.

    Raises AlreadyRunning.
    """
    file = home.controller_lock.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AlreadyRunning(f"a controller runs already for {home.root}") from None
    return file


def announce(home: Home, *, address: str | None, idle_exit: float | None, debug: bool) -> None:
    """Write who the controller is, for `down`, `doctor` and people."""
    me = identity.of(os.getpid())
    assert me is not None
    files.write_json(
        home.controller_file,
        {
            "schema": files.SCHEMA,
            "boot_id": me.boot_id,
            "pid": me.pid,
            "start_ticks": me.start_ticks,
            "since": time.time(),
            "ray_address": address,
            "idle_exit": idle_exit,
            "debug": debug,
        },
    )


class Daemon:
    """Turns the controller until told to end, by request, by signal or by idleness."""

    def __init__(
        self,
        home: Home,
        controller: Controller,
        *,
        tend: Callable[[], None],
        idle_exit: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._controller = controller
        self._tend = tend
        self._idle_exit = idle_exit
        self._clock = clock
        self._idle_since: float | None = None
        self._signalled = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True

    def run(self) -> str:
        """Returns why it ended."""
        while True:
            self._controller.turn()
            self._tend()
            if (why := self._why_end()) is not None:
                return why

    def _why_end(self) -> str | None:
        going_down = self._controller.going_down
        if self._signalled:
            return "signal"
        if going_down is False:
            return "down"
        if going_down and not any(True for _ in self._controller.state.live_attempts()):
            return "down, every run stopped"
        if self._idle_exit is None or not self._controller.idle:
            self._idle_since = None
            return None
        if self._idle_since is None:
            self._idle_since = self._clock()
        return "idle" if self._clock() - self._idle_since > self._idle_exit else None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="campaign.daemon", description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--ray-address")
    parser.add_argument("--idle-exit", type=float)
    options = parser.parse_args(argv)
    home = Home.locate(options.home)
    os.umask(0o077)
    home.create()
    with hold_home(home):
        settings = config.load(home.root).settings
        address = options.ray_address or settings.ray.address
        facts: Facts = queue.SimpleQueue()
        link = RayLink(
            facts,
            home.root,
            time.monotonic,
            address=address,
            cpu_slots=settings.home.cpu_slots,
        )
        publisher = PublisherProcess(
            home, tracking_uri=settings.mlflow.tracking_uri, clock=time.monotonic
        )
        notify = settings.notify
        notifier = NotifierProcess(
            home, desktop=notify.desktop, urls=notify.urls, clock=time.monotonic
        )
        store = Store(home.store)
        controller = Controller(
            store=store,
            link=link,
            facts=facts,
            clock=time.time,
            say=say,
            quiet=settings.gpus.quiet,
            idle_limit=settings.gpus.idle_memory_mib << 20,
        )
        tend = both(publisher.tend, notifier.tend)
        daemon = Daemon(home, controller, tend=tend, idle_exit=options.idle_exit)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, daemon.on_signal)
        announce(home, address=address, idle_exit=options.idle_exit, debug=False)
        say(f"controller of {home.root} is up")
        why = daemon.run()
        say(f"ending: {why}; trainers that run go on")
        link.close(stop_plane=True)
        publisher.close()
        notifier.close()
        store.close()
        Path(home.controller_file).unlink(missing_ok=True)
    return 0


def both(one: Callable[[], None], other: Callable[[], None]) -> Callable[[], None]:
    """One after the other."""

    def call() -> None:
        one()
        other()

    return call


def say(text: str) -> None:
    """One line in controller.log."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{stamp} {text}", file=sys.stdout, flush=True)


if __name__ == "__main__":
    try:
        code = main()
    except CampaignError as error:  # meant for people: the message is all there is to say
        say(f"error: {error}")
        code = error.exit_code
    raise SystemExit(code)
