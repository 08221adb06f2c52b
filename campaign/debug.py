"""`campaign submit --debug`: the same controller, in the foreground of this process.

The same shim, watcher and rules; no Ray, no MLflow, no daemon. Ending it leaves trainers running, and
the next controller adopts them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from campaign import config
from campaign.controller import Controller
from campaign.daemon import announce, hold_home
from campaign.home import Home
from campaign.hosts.factory import host_name, local_host
from campaign.hosts.killer import trainer_alive, watcher_killer
from campaign.links import Facts, LocalLink
from campaign.notifying import NotifierProcess
from campaign.store import Store
from watchers.watcher import Watcher, run_forever


class WatcherThread:
    """The host's watcher in a thread of this process."""

    def __init__(self) -> None:
        self._wanted: tuple[Path, ...] = ()
        self._stop = threading.Event()
        watcher = Watcher(watcher_killer(), alive=trainer_alive)
        self._thread = threading.Thread(
            target=run_forever, args=(watcher, self._stop, self._directories), name="watcher"
        )
        self._thread.start()

    def sync(self, _host: str, directories: tuple[str, ...]) -> None:
        """Watch these attempts and no others. Raises if the thread has died."""
        if not self._thread.is_alive():
            raise RuntimeError("the watcher's thread has died")
        self._wanted = tuple(Path(directory) for directory in directories)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _directories(self) -> Sequence[Path]:
        return self._wanted


class Foreground:
    """Holds the home from the beginning, so that a submit made inside is nobody else's.

    Raises AlreadyRunning if a controller runs for this home.
    """

    def __init__(self, home: Home, *, say: Callable[[str], None]) -> None:
        home.create()
        self._home = home
        self._say = say
        self._lock: IO[bytes] = hold_home(home)

    def __enter__(self) -> Foreground:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def run(self, campaign: str, each: Callable[[], None]) -> None:
        """Turn the controller until every run of the campaign is done; ``each`` is called each turn."""
        with ExitStack() as stack:
            notifier = self._notifier(stack)
            controller = self._controller(stack)
            announce(self._home, address=None, idle_exit=None, debug=True)
            stack.callback(self._home.controller_file.unlink, missing_ok=True)
            while not _over(controller, campaign):
                controller.turn()
                notifier.tend()
                each()
        each()

    def _notifier(self, stack: ExitStack) -> NotifierProcess:
        """Closed last, so that it tells what the controller committed last."""
        notify = config.load(self._home.root).settings.notify
        notifier = NotifierProcess(
            self._home, desktop=notify.desktop, urls=notify.urls, clock=time.monotonic
        )
        stack.callback(notifier.close)
        return notifier

    def _controller(self, stack: ExitStack) -> Controller:
        facts: Facts = queue.SimpleQueue()
        name = host_name()
        settings = config.load(self._home.root).settings
        watcher = WatcherThread()
        stack.callback(watcher.close)
        host = local_host(self._home.root, name=name, cpu_slots=settings.home.cpu_slots)
        link = LocalLink(facts, host, name, watcher.sync)
        stack.callback(link.close, stop_plane=True)
        store = Store(self._home.store)
        stack.callback(store.close)
        return Controller(
            store=store,
            link=link,
            facts=facts,
            clock=time.time,
            say=self._say,
            quiet=settings.gpus.quiet,
            idle_limit=settings.gpus.idle_memory_mib << 20,
        )


def _over(controller: Controller, campaign: str) -> bool:
    """Every run is done and no attempt is left to observe."""
    state = controller.state
    runs = [run for run in state.runs.values() if run.campaign == campaign]
    live = any(attempt.campaign == campaign for attempt in state.live_attempts())
    return bool(runs) and not live and all(run.status.status == "done" for run in runs)
