"""Giving an order to an attempt: durable first, then the bell. No answer is waited for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from campaign.hosts import inbox, reaper, records
from campaign.hosts.bell import ring
from campaign.hosts.port import Order
from campaign.hosts.records import LaunchRecord
from specs.files import AttemptFiles, read_json


def give(files: AttemptFiles, order: Order) -> int:
    """Write the order and wake the shim. Returns its number; the same key twice is one order.

    Raises FileNotFoundError where nothing was launched in that directory.
    """
    launch = records.read_launch(files)
    if launch is None:
        raise FileNotFoundError(f"{files.launch} is not there: no attempt to order")
    number = inbox.write_order(files, _content(files, launch, order))
    ring(Path(launch.socket))
    return number


def _content(files: AttemptFiles, launch: LaunchRecord, order: Order) -> dict[str, Any]:
    """With the identity that the order means, as far as it is known: the shim compares it."""
    pid = read_json(files.pid) or {}
    return {
        **order.model_dump(mode="python"),
        "action": order.action.value,
        "attempt": launch.attempt,
        "cookie": launch.cookie,
        "boot_id": pid.get("boot_id"),
        "shim": pid.get("shim"),
        "trainer": pid.get("trainer"),
    }


class FileKiller:
    """Kills from a watcher: needs neither controller nor Ray.

    Where the shim is dead the ladder runs on a thread of the caller's process, so that a watcher goes
    on judging the other attempts meanwhile. Should the process die in the middle, the ladder may be
    run again by anybody.
    """

    def __init__(self) -> None:
        self._reaping: dict[Path, threading.Thread] = {}

    def __call__(self, attempt_dir: Path, order: Order) -> None:
        files = AttemptFiles(root=attempt_dir)
        give(files, order)
        if order.action.value == inbox.STOP and reaper.shim_is_dead(files):
            self._reap(files)

    def _reap(self, files: AttemptFiles) -> None:
        running = self._reaping.get(files.root)
        if running is not None and running.is_alive():
            return
        thread = threading.Thread(
            target=reaper.reap, args=(files,), name=f"reap {files.root.name}", daemon=True
        )
        self._reaping[files.root] = thread
        thread.start()
