"""The file of the store: its tables and how it is opened. No pydantic, so that reading starts fast."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from campaign.errors import BadStore
from specs.files import fsync_dir

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 10_000

_TABLES = """
CREATE TABLE requests (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload TEXT NOT NULL, made_at REAL NOT NULL,
    answered_at REAL, answer TEXT);
CREATE INDEX requests_open ON requests (id) WHERE answered_at IS NULL;
CREATE TABLE campaigns (name TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (
    campaign TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL, status TEXT NOT NULL,
    data TEXT NOT NULL, PRIMARY KEY (campaign, name)) WITHOUT ROWID;
CREATE INDEX runs_status ON runs (status, position);
CREATE TABLE attempts (
    campaign TEXT NOT NULL, run TEXT NOT NULL, number INTEGER NOT NULL, status TEXT NOT NULL,
    data TEXT NOT NULL, progress TEXT, PRIMARY KEY (campaign, run, number)) WITHOUT ROWID;
CREATE TABLE leases (
    device TEXT PRIMARY KEY, campaign TEXT NOT NULL, run TEXT NOT NULL, attempt INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE checkpoints (
    campaign TEXT NOT NULL, run TEXT NOT NULL, attempt INTEGER NOT NULL, step INTEGER NOT NULL,
    status TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (campaign, run, attempt, step)) WITHOUT ROWID;
CREATE TABLE hosts (name TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE quarantines (device TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY, campaign TEXT NOT NULL, run TEXT NOT NULL, attempt INTEGER NOT NULL,
    key TEXT NOT NULL, data TEXT NOT NULL, UNIQUE (campaign, run, attempt, key));
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, note TEXT NOT NULL);
"""


def open_database(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """One connection in autocommit; the file is made if it is missing and to be written.

    Raises BadStore, with what to do, where the file is no good.
    """
    try:
        if not readonly and not path.exists():
            _create(path)
        mode = "ro" if readonly else "rw"
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None
        )
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA synchronous = FULL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise unreadable(path, error) from error
    if version != SCHEMA_VERSION:
        raise BadStore(
            f"the store {path} has schema {version}, this program knows {SCHEMA_VERSION}: "
            "use the version of campaign that wrote it"
        )
    return db


def open_empty() -> sqlite3.Connection:
    """A store in memory with nothing in it: what a home without a store amounts to."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(_TABLES)
    return db


def unreadable(path: Path, error: sqlite3.DatabaseError) -> BadStore:
    """The error as a person needs it."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return BadStore(
            f"the store {path} was busy for {BUSY_TIMEOUT_MS // 1000} s: another process writes to it\n"
            "  nothing was changed; try again"
        )
    return BadStore(
        f"the store {path} cannot be read: {error}\n"
        "  running trainers go on untouched\n"
        f"  keep a copy of it, then try: sqlite3 {path} .recover | sqlite3 restored.db"
    )


def _create(path: Path) -> None:
    """Put a complete, empty store at ``path``; of several processes that try at once, one does.

    It is made under another name, because SQLite cannot be told to wait while a new file is turned
    to write-ahead logging.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    db = sqlite3.connect(temporary, isolation_level=None)
    try:
        temporary.chmod(0o600)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        db.close()
        with contextlib.suppress(FileExistsError):  # another process was faster: its store holds
            os.link(temporary, path)
    finally:
        db.close()
        temporary.unlink()
    fsync_dir(path.parent)
