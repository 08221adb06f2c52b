"""The watcher's way to have a trainer killed: an order on disk and a nudge to the shim."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.hosts.orders import FileKiller

from campaign.hosts.port import Order, OrderAction
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
