"""Order files of an attempt: how one is written whole and numbered, and how they are read.

Standard library only: the shim reads them.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specs.files import SCHEMA, AttemptFiles, fsync_dir, read_json

STOP = "stop"
CHECKPOINT = "checkpoint"
ACTIONS = (STOP, CHECKPOINT)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One order as it lies on disk. ``problem`` says why it cannot be read; then the rest is empty."""

    number: int
    key: str = ""
    action: str = ""
    by: str = ""
    reason: str = ""
    rule: str | None = None
    grace: float | None = None
    cookie: str | None = None
    shim: Mapping[str, Any] | None = None
    trainer: Mapping[str, Any] | None = None
    problem: str | None = None

    def in_brief(self) -> dict[str, Any]:
        """What exit.json and kill.json keep of it."""
        return {
            "key": self.key,
            "action": self.action,
            "by": self.by,
            "reason": self.reason,
            "rule": self.rule,
        }


def read_orders(files: AttemptFiles, *, after: int = 0) -> list[Mail]:
    """Orders with a number above ``after``, in order."""
    return [_read(number, path) for number, path in files.orders() if number > after]


def shortest_grace(stops: Iterable[Mail], default: float) -> float:
    """Seconds between SIGTERM and SIGKILL: a later order may ask for fewer, none for more."""
    asked = [default if mail.grace is None else mail.grace for mail in stops]
    return max(0.0, min(asked, default=default))


def _read(number: int, path: Path) -> Mail:
    try:
        value = read_json(path)
        if value is None:
            return Mail(number=number, problem="it was taken away again")
        return _mail(number, value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Mail(number=number, problem=f"it is not readable: {error}")


def _mail(number: int, value: Mapping[str, Any]) -> Mail:
    grace = value.get("grace")
    return Mail(
        number=number,
        key=str(value["key"]),
        action=str(value["action"]),
        by=str(value["by"]),
        reason=str(value["reason"]),
        rule=value.get("rule"),
        grace=None if grace is None else float(grace),
        cookie=value.get("cookie"),
        shim=value.get("shim"),
        trainer=value.get("trainer"),
    )


def write_order(files: AttemptFiles, content: Mapping[str, Any]) -> int:
    """Write an order durably under the next free number; the number it has already, for a known key.

    ``content``: key, action, by, reason and the optional fields of `Mail`. The file appears whole: it
    is linked into place, and the link fails where the number is taken.
    """
    temporary = files.root / f".order.{os.getpid()}.{secrets.token_hex(8)}.tmp"
    try:
        _write_synced(temporary, {"schema": SCHEMA, **content})
        while True:
            present = read_orders(files)
            for mail in present:
                if mail.key == content["key"]:
                    return mail.number
            number = 1 + max((mail.number for mail in present), default=0)
            try:
                os.link(temporary, files.order(number))
            except FileExistsError:  # somebody else took the number: look again
                continue
            fsync_dir(files.root)
            return number
    finally:
        temporary.unlink(missing_ok=True)


def _storable(value: object) -> object:
    """NaN and infinities as metric lines write them: the evidence of a divergence is full of them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(key): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    return value


def _write_synced(path: Path, value: Mapping[str, Any]) -> None:
    data = json.dumps(_storable(value), allow_nan=False).encode() + b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
