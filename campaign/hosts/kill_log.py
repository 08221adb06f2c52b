"""kill.json: which orders were taken or refused, and every rung of the ladder. Standard library only."""

from __future__ import annotations

import sys
from typing import Any

from campaign.hosts.identity import Delivery
from campaign.hosts.inbox import Mail
from campaign.hosts.ladder import Ending, Rung
from specs.files import SCHEMA, AttemptFiles, read_json, write_json


class KillLog:
    """Goes on where an interrupted ladder left it. A full disk does not stop the ladder.

    ``order`` stays None until a ladder begins: orders for a checkpoint, and refused ones, are listed
    under ``orders`` alone.
    """

    def __init__(self, files: AttemptFiles, *, attempt: int, cookie: str) -> None:
        self._path = files.kill
        self._kept = False
        self._value: dict[str, Any] = self._before() or {
            "schema": SCHEMA,
            "attempt": attempt,
            "cookie": cookie,
            "order": None,
            "term_at": None,
            "orders": [],
            "rungs": [],
            "outcome": None,
            "ended_at": None,
        }

    @property
    def order(self) -> dict[str, Any] | None:
        """The order that the ladder obeys."""
        order = self._value["order"]
        return order if isinstance(order, dict) else None

    @property
    def terminated_at(self) -> float | None:
        """When SIGTERM was delivered to the trainer (unix seconds)."""
        at = self._value["term_at"]
        return float(at) if at is not None else None

    def took(self, mail: Mail, *, at: float, result: str) -> None:
        """What became of one order. Kept for the next write: a signal must not wait for the disk."""
        entry = {"number": mail.number, **mail.in_brief(), "at": at, "result": result}
        self._value["orders"].append(entry)
        self._kept = True

    def flush(self) -> None:
        """Write what was only kept."""
        if self._kept:
            self._save()

    def begin(self, mail: Mail, *, by: str) -> None:
        """A ladder begins, or begins again; written with its first rung, which must not wait for it."""
        if self._value["order"] is None:
            self._value["order"] = {"number": mail.number, **mail.in_brief()}
        self._value["by"] = by
        self._value["outcome"] = None

    def rung(self, rung: Rung) -> None:
        if rung.name == "term" and rung.result == Delivery.DELIVERED:
            self._value["term_at"] = rung.at
        self._value["rungs"].append(rung.to_json())
        self._save()

    def finish(self, ending: Ending, *, at: float) -> None:
        self._value["outcome"] = ending.outcome.value
        self._value["ended_at"] = at
        self._save()

    def _before(self) -> dict[str, Any] | None:
        try:
            return read_json(self._path)
        except ValueError as error:
            self._complain(f"is started afresh: {error}")
            return None

    def _save(self) -> None:
        try:
            write_json(self._path, self._value)
            self._kept = False
        except OSError as error:
            self._complain(f"could not be written: {error}")

    def _complain(self, what: str) -> None:
        print(f"campaign: {self._path} {what}", file=sys.stderr, flush=True)
