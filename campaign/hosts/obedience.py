"""The orders of one attempt as its shim takes them: each once, none that means somebody else.

Standard library only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from campaign.hosts import inbox
from campaign.hosts.identity import Identity
from campaign.hosts.inbox import Mail
from campaign.hosts.kill_log import KillLog
from campaign.hosts.records import LaunchRecord, PidRecord
from specs.files import AttemptFiles

BY_SHIM = "shim"


class Orders:
    """``stop`` is the first order to stop; later ones can only shorten its grace.

    ``checkpoint`` asks the trainer to save and says what became of it; ``pid`` gives pid.json as it is.
    """

    def __init__(
        self,
        files: AttemptFiles,
        launch: LaunchRecord,
        log: KillLog,
        *,
        pid: Callable[[], PidRecord],
        checkpoint: Callable[[], str],
    ) -> None:
        self._files = files
        self._launch = launch
        self._log = log
        self._pid = pid
        self._checkpoint = checkpoint
        self._stops: list[Mail] = []
        self._keys: set[str] = set()
        self._last = 0

    @property
    def stop(self) -> Mail | None:
        return self._stops[0] if self._stops else None

    def take(self) -> None:
        """Carry out what is new."""
        try:
            mails = inbox.read_orders(self._files, after=self._last)
        except OSError as error:  # a hanging file system must not end the shim; it looks again
            self._complain(f"orders cannot be read: {error}")
            return
        for mail in mails:
            self._last = mail.number
            self._log.took(mail, at=time.time(), result=self._refusal(mail) or self._obey(mail))

    def give_myself(self, key: str, reason: str) -> None:
        """An order like any other, so that the intent is on disk before anything is signalled."""
        if key in self._keys:
            return
        mail = Mail(
            number=0,
            key=key,
            action=inbox.STOP,
            by=BY_SHIM,
            reason=reason,
            cookie=self._launch.cookie,
        )
        try:
            inbox.write_order(self._files, {**mail.in_brief(), "cookie": mail.cookie})
        except OSError as error:  # a full disk must not save a trainer from its deadline
            self._complain(f"order {key} cannot be written: {error}")
            self._log.took(mail, at=time.time(), result=self._obey(mail))

    def grace(self) -> float:
        """Seconds from SIGTERM to SIGKILL, by all orders so far."""
        self.take()
        return inbox.shortest_grace(self._stops, self._launch.grace)

    def _refusal(self, mail: Mail) -> str | None:
        if mail.problem is not None:
            return f"refused: {mail.problem}"
        if mail.cookie != self._launch.cookie:
            return "refused: it carries another cookie than this attempt"
        pid = self._pid()
        for said, meant in ((mail.shim, pid.shim), (mail.trainer, pid.trainer)):
            if said is not None and meant is not None and not _means(said, meant):
                return f"refused: it means process {said.get('pid')}, ours is {meant.pid}"
        if mail.action not in inbox.ACTIONS:
            return f"refused: {mail.action!r} is no action"
        return "repeated" if mail.key in self._keys else None

    def _obey(self, mail: Mail) -> str:
        self._keys.add(mail.key)
        if mail.action == inbox.CHECKPOINT:
            return self._checkpoint()
        self._stops.append(mail)
        return "taken"

    def _complain(self, what: str) -> None:
        print(f"campaign: {self._files.root}: {what}", file=sys.stderr, flush=True)


def _means(said: Mapping[str, Any], meant: Identity) -> bool:
    return (said.get("pid"), said.get("start_ticks")) == (meant.pid, meant.start_ticks)
