"""The watcher's way to have a trainer killed: an order on disk and a nudge to the shim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.hosts import identity
from campaign.hosts.orders import FileKiller
from campaign.hosts.port import Order, OrderAction
from specs import files
from watchers.verdict import Killer


class WatcherKiller:
    """watchers.verdict.Killer over order files; a dead shim's ladder is run here and now."""

    def __init__(self) -> None:
        self._deliver = FileKiller()

    def __call__(
        self,
        directory: Path,
        *,
        key: str,
        action: str,
        reason: str,
        rule: str,
        grace: float | None,
        evidence: Mapping[str, Any],
    ) -> None:
        order = Order(
            key=key,
            action=OrderAction(action),
            by="watcher",
            reason=reason,
            rule=rule,
            grace=grace,
            evidence=evidence,
        )
        self._deliver(directory, order)


def watcher_killer() -> Killer:
    return WatcherKiller()


def trainer_alive(directory: Path) -> bool | None:
    """Whether the trainer's process is alive; None where no identity of it is on record."""
    record = files.read_json(files.AttemptFiles(root=directory).pid)
    if record is None or not record.get("trainer"):
        return None
    found = identity.from_json(record["trainer"], boot=record.get("boot_id"), cookie=None)
    return None if found is None else identity.is_alive(found)
