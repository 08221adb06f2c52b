"""Looking at a campaign again and again, at the price of one pragma where nothing happened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from campaign.errors import TimedOut
from campaign.following import Snapshot
from campaign.views import Reader

LOOK_EVERY = 0.1


class Follower:
    def __init__(self, store: Path, campaign: str) -> None:
        self._reader = Reader(store)
        self._campaign = campaign
        self._version: int | None = None

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def look(self) -> Snapshot | None:
        """The campaign as it is now; None if nothing was committed since the last look."""
        version = self._reader.version()
        if version == self._version:
            return None
        self._version = version
        return self._reader.snapshot(self._campaign)

    def changes(self, timeout: float | None = None) -> Iterator[Snapshot | None]:
        """A look about ten times a second, until every run is done; that look is the last.

        Raises TimedOut after ``timeout`` seconds, but for a campaign that is done by then.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            seen = self.look()
            yield seen
            if seen is not None and seen.done:
                return
            if until is not None and time.monotonic() >= until:
                raise TimedOut(
                    f"{self._campaign} is not done after {timeout:g} s; its runs go on\n"
                    f"  campaign ls {self._campaign}"
                )
            time.sleep(LOOK_EVERY)
