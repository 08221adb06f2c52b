"""The watcher of a host as a detached Ray actor. It gets its killer when it is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from watchers.verdict import Killer
from watchers.watcher import Watcher, run_forever

ACTOR_OPTIONS: Mapping[str, Any] = {
    "num_cpus": 0,
    "max_restarts": -1,
    "max_task_retries": 0,
    "max_concurrency": 4,
}


class WatcherActor:
    """Watches in a thread of its own; ``alive`` tells whether an attempt's trainer lives.

    After a restart it knows no attempt until `sync` is called, which the desk does ten times a
    second; it then reads every file from the start again.
    """

    def __init__(self, killer: Killer, alive: Callable[[Path], bool | None]) -> None:
        self._wanted: tuple[Path, ...] = ()
        watcher = Watcher(killer, alive=alive)
        self._thread = threading.Thread(
            target=run_forever,
            args=(watcher, threading.Event(), self._directories),
            daemon=True,
            name="watcher",
        )
        self._thread.start()

    def _directories(self) -> Sequence[Path]:
        return self._wanted

    def sync(self, directories: Sequence[str]) -> None:
        """Watch these attempts and no others. Raises if the watching thread has died."""
        if not self._thread.is_alive():
            raise RuntimeError("the watcher's thread has died; see its log")
        self._wanted = tuple(Path(d) for d in directories)
