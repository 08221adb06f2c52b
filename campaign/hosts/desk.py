"""The desk through which a controller reaches its hosts: messages in, facts out.

The same desk serves both planes. In `ray_link.py` its hosts are Ray actors and it runs in a child
process; under `--debug` it holds one LocalHost in the controller's own process. It chooses nothing.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from campaign.errors import CampaignError
from campaign.hosts.leaser import Leaser, LeaseRefused
from campaign.hosts.messages import (
    AnyFact,
    AnyMessage,
    GiveOrder,
    HostLost,
    HostSeen,
    Keep,
    Observed,
    Problem,
    Prove,
    Reap,
    ReapFailed,
    Release,
    Start,
    StartFailed,
    Track,
    Unstarted,
    Untrack,
)
from campaign.hosts.port import Cursor, Host, Observation

POOL = 32
"""Messages that are carried out at once: a start that brings a checkpoint along may take minutes."""

OBSERVE_EVERY = 0.1
OBSERVE_SOON = 0.02
HURRY = 1.0
"""Seconds after a start and after an end in which a host is looked at every OBSERVE_SOON seconds."""

DESCRIBE_EVERY = 5.0


WatchSync = Callable[[str, tuple[str, ...]], None]
"""Tell the watcher of a host which attempts to watch."""


class Desk:
    """Carries out messages on a few threads and reports facts through ``emit``.

    ``emit`` is called from several threads and must be safe for that.
    """

    def __init__(
        self,
        *,
        emit: Callable[[AnyFact], None],
        hosts: Mapping[str, Host],
        watch: WatchSync,
        leaser: Leaser,
        stop: threading.Event,
    ) -> None:
        self._emit = emit
        self._hosts = dict(hosts)
        self._watch = watch
        self._leaser = leaser
        self._stop = stop
        self._tracked: dict[str, dict[str, Cursor]] = {name: {} for name in hosts}
        self._seen: dict[str, Observation] = {}
        self._hurried: dict[str, float] = {}
        self._watched: dict[str, tuple[str, ...]] = {}
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=POOL, thread_name_prefix="desk")
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        """Begin to observe; each host has a thread of its own, so that a slow one slows no other."""
        for name in self._hosts:
            self._begin(name)

    def add_host(self, name: str, host: Host) -> None:
        with self._guard:
            fresh = name not in self._tracked
            self._hosts[name] = host
            self._tracked.setdefault(name, {})
        if fresh:
            self._begin(name)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10.0)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, message: AnyMessage) -> None:
        """Carry out one message; slow ones on the pool, in no order between attempts."""
        match message:
            case Track():
                with self._guard:
                    self._tracked.setdefault(message.host, {})[message.directory] = message.cursor
                    self._seen.pop(message.directory, None)
                self._pool.submit(self._guarded, self._hold, message)
            case Untrack():
                with self._guard:
                    self._tracked.get(message.host, {}).pop(message.directory, None)
                    self._seen.pop(message.directory, None)
            case _:
                self._pool.submit(self._guarded, self._carry_out, message)

    # ------------------------------------------------------------ carrying out

    def _guarded(self, work: Callable[[Any], None], message: Any) -> None:
        try:
            work(message)
        except Exception as error:  # noqa: BLE001 - a thread must report whatever went wrong
            # any other failure of a start leaves it open: the controller asks for proof later
            if isinstance(message, Start) and isinstance(error, (CampaignError, LeaseRefused)):
                self._emit(StartFailed(directory=message.launch.directory, reason=str(error)))
            text = "".join(traceback.format_exception_only(error)).strip()
            if isinstance(message, Reap):
                self._emit(ReapFailed(directory=message.directory, reason=text))
            self._emit(Problem(text=f"{message.op}: {text}"))

    def _carry_out(self, message: AnyMessage) -> None:
        match message:
            case Start():
                self._start(message)
            case GiveOrder():
                self._hosts[message.host].order(message.directory, message.order)
            case Reap():
                self._hosts[message.host].reap(message.directory, message.order)
            case Keep():
                self._hosts[message.host].keep(message.directory, message.steps)
            case Prove():
                if self._hosts[message.host].prove_unstarted(message.directory):
                    self._emit(Unstarted(directory=message.directory))
            case Release():
                self._leaser.release(message.directory)

    def _start(self, message: Start) -> None:
        launch = message.launch
        self._leaser.lease(launch.directory, message.host, launch.devices)
        self._hosts[message.host].start(launch)
        with self._guard:
            self._tracked[message.host].setdefault(launch.directory, Cursor())
        self._hurry(message.host)

    def _hold(self, message: Track) -> None:
        if message.devices:
            self._leaser.lease(message.directory, message.host, message.devices)

    # ------------------------------------------------------------ observing

    def _begin(self, name: str) -> None:
        for work in (self._observe_for_ever, self._describe_for_ever):
            thread = threading.Thread(target=work, args=(name,), daemon=True, name=f"{name}")
            self._threads.append(thread)
            thread.start()

    def _observe_for_ever(self, name: str) -> None:
        lost = False
        while not self._stop.wait(self._pause(name)):
            try:
                self._observe(name)
                lost = False
            except Exception as error:  # noqa: BLE001 - any failure of a remote host is "lost"
                if not lost:
                    self._emit(HostLost(host=name, reason=f"{type(error).__name__}: {error}"))
                lost = True

    def _hurry(self, name: str) -> None:
        """More is about to happen there: a short run ends at once, and then its watch is closed."""
        self._hurried[name] = time.monotonic()

    def _pause(self, name: str) -> float:
        since = time.monotonic() - self._hurried.get(name, -math.inf)
        return OBSERVE_SOON if since < HURRY else OBSERVE_EVERY

    def _observe(self, name: str) -> None:
        with self._guard:
            cursors = dict(self._tracked[name])
        if cursors or self._watched.get(name) != ():
            # told again each time: a watcher that was started anew knows nothing
            self._watch(name, tuple(cursors))
            self._watched[name] = tuple(cursors)
        if not cursors:
            return
        for seen in self._hosts[name].observe(cursors):
            with self._guard:
                tracked = self._tracked[name]
                if tracked.get(seen.directory) != cursors[seen.directory]:
                    continue  # untracked, or tracked anew from an older cursor, in the meantime
                tracked[seen.directory] = seen.cursor
                before = self._seen.get(seen.directory)
                self._seen[seen.directory] = seen
            if seen.exit is not None and (before is None or before.exit is None):
                self._hurry(name)
            if seen.events or seen.watch or before is None or _differs(before, seen):
                self._emit(Observed(observation=seen))

    def _describe_for_ever(self, name: str) -> None:
        while True:
            try:
                self._emit(HostSeen(facts=self._hosts[name].describe()))
            except Exception as error:  # noqa: BLE001 - any failure of a remote host is "lost"
                self._emit(HostLost(host=name, reason=f"{type(error).__name__}: {error}"))
            if self._stop.wait(DESCRIBE_EVERY):
                return


def _differs(before: Observation, after: Observation) -> bool:
    """Whether anything but the lines and the cursor changed."""
    blank = {"events": (), "watch": (), "cursor": Cursor()}
    return before.model_copy(update=blank) != after.model_copy(update=blank)
