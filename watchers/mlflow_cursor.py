"""publisher.db: what was published where, so that a new publisher goes on where the last one was killed.

It may be behind the tracking store, never ahead: an entry is made after the store has accepted. Lost or
broken, it is made anew and everything is published again, which changes nothing in MLflow.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchers.mlflow_send import Rejected
from watchers.tail import START, Position

VERSION = 1
BUSY_TIMEOUT = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    target TEXT, key TEXT, run_id TEXT NOT NULL,
    described INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (target, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stores (target TEXT PRIMARY KEY, store_id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursors (
    target TEXT, key TEXT, source INTEGER,
    byte_offset INTEGER NOT NULL, anchor BLOB NOT NULL, passing INTEGER NOT NULL,
    PRIMARY KEY (target, key, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (
    target TEXT, key TEXT, metric TEXT, step INTEGER, timestamp TEXT, value TEXT,
    why TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (target, key, metric, step, timestamp, value)) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The MLflow run of an attempt. ``described``: params, tags and links are written; ``settled``: all is."""

    run_id: str
    described: bool
    settled: bool


class Ledger:
    """Cursors by (target, attempt key, number of the attempt whose points they are)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger at ``path``, made if missing; a broken one is put aside as ``*.broken``."""
        try:
            return cls._open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise  # locked, full, not writable: the file itself may be good
            path.replace(path.with_name(f"{path.name}.{time.time_ns()}.broken"))
            return cls._open(path)

    @classmethod
    def _open(cls, path: Path) -> Ledger:
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            path.chmod(0o600)
            db.execute("PRAGMA journal_mode=WAL")
            # a cursor that a power cut takes back is behind, which costs a replay and nothing else
            db.execute("PRAGMA synchronous=NORMAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError(f"version {version}")
            db.executescript(_SCHEMA)
            db.execute(f"PRAGMA user_version={VERSION}")  # last: from here on it can be read
        except BaseException:
            db.close()
            raise
        return cls(db)

    @classmethod
    def open_to_read(cls, path: Path) -> Ledger | None:
        """The ledger, unchanged; None if there is none yet, or only the beginning of one."""
        if not path.exists():
            return None
        uri = f"{path.resolve().as_uri()}?mode=ro"
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            ready = db.execute("PRAGMA user_version").fetchone()[0] == VERSION
        except sqlite3.DatabaseError:  # broken: the next publisher begins a new one
            ready = False
        if not ready:
            db.close()
            return None
        return cls(db)

    def close(self) -> None:
        self._db.close()

    # ------------------------------------------------------------ runs

    def entry(self, target: str, key: str) -> Entry | None:
        row = self._one(
            "SELECT run_id, described, settled FROM runs WHERE target=? AND key=?", target, key
        )
        return None if row is None else Entry(run_id=row[0], described=row[1], settled=row[2])

    def remember(self, target: str, key: str, run_id: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO runs (target, key, run_id) VALUES (?, ?, ?)",
            (target, key, run_id),
        )

    def mark_described(self, target: str, key: str) -> None:
        self._db.execute("UPDATE runs SET described=1 WHERE target=? AND key=?", (target, key))

    def mark_settled(self, target: str, key: str) -> None:
        self._db.execute("UPDATE runs SET settled=1 WHERE target=? AND key=?", (target, key))

    def forget(self, target: str, key: str | None = None) -> None:
        """Publish it (or everything, without ``key``) again from the start."""
        for table in ("cursors", "runs"):
            self._db.execute(
                f"DELETE FROM {table} WHERE target=? AND (? IS NULL OR key=?)", (target, key, key)
            )

    def bind(self, target: str, store_id: int) -> bool:
        """Forget what was published if ``target`` is another store than before. Whether it was."""
        row = self._one("SELECT store_id FROM stores WHERE target=?", target)
        if row is not None and row[0] == store_id:
            return False
        self.forget(target)
        self._db.execute("INSERT OR REPLACE INTO stores VALUES (?, ?)", (target, store_id))
        return row is not None

    # ------------------------------------------------------------ cursors

    def position(self, target: str, key: str, source: int) -> Position:
        row = self._one(
            "SELECT byte_offset, anchor, passing FROM cursors WHERE target=? AND key=? AND source=?",
            *(target, key, source),
        )
        if row is None:
            return START
        return Position(offset=row[0], anchor=row[1], passing=bool(row[2]))

    def advance(self, target: str, key: str, source: int, position: Position) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?)",
            (target, key, source, position.offset, position.anchor, int(position.passing)),
        )

    # ------------------------------------------------------------ refused points

    def refuse(self, target: str, key: str, rejected: Iterable[Rejected]) -> list[Rejected]:
        """Record points that the store will not take; the ones that were not recorded before."""
        return [one for one in rejected if self._refuse(target, key, one)]

    def _refuse(self, target: str, key: str, one: Rejected) -> bool:
        point = one.point
        done = self._db.execute(
            "INSERT OR IGNORE INTO refused VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(target, key, point.key, point.step, str(point.timestamp), repr(point.value)),
                *(one.why, time.time()),
            ),
        )
        return done.rowcount == 1

    def refused(self, target: str, key: str) -> list[tuple[str, int, int, float, str]]:
        """Metric, step, timestamp, value and why, in the order of steps."""
        rows = self._db.execute(
            "SELECT metric, step, timestamp, value, why FROM refused WHERE target=? AND key=?"
            " ORDER BY step, metric",
            (target, key),
        )
        return [(m, step, int(t), float(value), why) for m, step, t, value, why in rows]

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row
