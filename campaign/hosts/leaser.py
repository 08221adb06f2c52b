"""Who else must agree that a device is taken: the port, and the one that always agrees."""

from __future__ import annotations

from typing import Protocol


class LeaseRefused(Exception):
    """Nothing was started: the device is not to be had."""


class Leaser(Protocol):
    """Who else must agree that a device is taken: Ray's placement groups, or nobody."""

    def lease(self, directory: str, host: str, devices: tuple[str, ...]) -> None:
        """Hold the devices for this attempt; holding them already is fine. Raises LeaseRefused."""
        ...

    def release(self, directory: str) -> None: ...


class NoLeaser:
    """Without Ray the store and the kernel's locks are enough."""

    def lease(self, directory: str, host: str, devices: tuple[str, ...]) -> None:
        return None

    def release(self, directory: str) -> None:
        return None
