"""The store: SQLite, WAL, synchronous=FULL. One writer of the truth, the controller.

The CLI inserts into `requests` and reads the rest; its commit is the acknowledgement of a submit.
Records are kept as JSON beside the few columns that are searched. Every commit of the controller
writes the changed records and the event log together.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from campaign.database import open_database
from campaign.errors import BadStore
from campaign.records import (
    Alert,
    AnyRecord,
    Attempt,
    Campaign,
    Checkpoint,
    HostRecord,
    HostSights,
    Progress,
    Quarantine,
    Run,
)
from campaign.state import State
from campaign.stored_spec import problems


@dataclass(frozen=True, kw_only=True)
class Request:
    """``text``: the payload as it lies there; campaign/requests.py reads it."""

    id: int
    kind: str
    text: str
    made_at: float

    @property
    def payload(self) -> Any:
        """Raises ValueError where the text is no JSON."""
        return json.loads(self.text)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A campaign as it was submitted, taken by the controller or still on its way."""

    campaign: Campaign
    runs: Mapping[str, Mapping[str, Any]]


class Store:
    """One connection. Raises BadStore, with what to do, where the file cannot be trusted."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._db = open_database(path, readonly=readonly)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # ------------------------------------------------------------ requests

    def request(self, kind: str, payload: Mapping[str, Any], now: float) -> int:
        """Make a request durable; its number. When this returns it cannot be lost."""
        with self._transaction() as db:
            return _insert_request(db, kind, payload, now)

    def submit(self, campaign: str, payload: Mapping[str, Any], now: float) -> int | Known:
        """Make a submit durable, unless a campaign of that name is here or on its way: then it.

        One transaction, so that of two submits of one name only one is taken.
        """
        with self._transaction() as db:
            known = _known(db, campaign)
            return _insert_request(db, "submit", payload, now) if known is None else known

    def open_requests(self) -> list[Request]:
        rows = self._db.execute(
            "SELECT id, kind, payload, made_at FROM requests WHERE answered_at IS NULL ORDER BY id"
        )
        return [Request(id=i, kind=k, text=p, made_at=m) for i, k, p, m in rows]

    def answer_of(self, request: int) -> str | None:
        """The answer to a request; None while it is open."""
        row = self._db.execute("SELECT answer FROM requests WHERE id = ?", (request,)).fetchone()
        return None if row is None else row[0]

    def data_version(self) -> int:
        """Changes whenever another connection has committed: the cheap question before a read."""
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    # ------------------------------------------------------------ the controller's commit

    def commit(
        self,
        records: Iterable[AnyRecord],
        notes: Sequence[str],
        now: float,
        *,
        kind: str,
        answer: tuple[int, str] | None = None,
    ) -> None:
        """Write the changed records, the notes and the answer to a request, or nothing at all.

        Raises sqlite3.IntegrityError if a device would be leased twice.
        """
        with self._transaction() as db:
            for record in records:
                _write(db, record)
            db.executemany(
                "INSERT INTO events (at, kind, note) VALUES (?, ?, ?)",
                [(now, kind, note) for note in notes],
            )
            if answer is not None:
                db.execute(
                    "UPDATE requests SET answered_at = ?, answer = ? WHERE id = ?",
                    (now, answer[1], answer[0]),
                )

    def load(self) -> State:
        """Everything, as the controller left it."""
        one = self._records
        alerts = self._db.execute("SELECT campaign, run, attempt, key FROM alerts")
        return State(
            campaigns={c.name: c for c in one(Campaign, "campaigns")},
            runs={r.id: r for r in one(Run, "runs")},
            attempts={a.id: a for a in one(Attempt, "attempts")},
            checkpoints={c.id: c for c in one(Checkpoint, "checkpoints")},
            hosts={h.name: h for h in one(HostRecord, "hosts")},
            quarantines={q.device: q for q in one(Quarantine, "quarantines")},
            alerts=frozenset((c, r, int(a), k) for c, r, a, k in alerts),
        )

    def _records(self, kind: type[Any], table: str) -> Iterator[Any]:
        for (data,) in self._db.execute(f"SELECT data FROM {table}"):
            try:
                yield kind.model_validate_json(data)
            except ValidationError as error:
                raise BadStore(
                    f"the store {self.path} holds a record in {table} that this version of campaign "
                    f"cannot read: {problems(error)}\n"
                    "  running trainers go on untouched\n"
                    "  use the version that wrote it, or restore the store from a copy"
                ) from error

    # ------------------------------------------------------------ reading

    def rows(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """A query of the reading side (campaign/views.py)."""
        return self._db.execute(sql, arguments).fetchall()


def _insert_request(
    db: sqlite3.Connection, kind: str, payload: Mapping[str, Any], now: float
) -> int:
    cursor = db.execute(
        "INSERT INTO requests (kind, payload, made_at) VALUES (?, ?, ?)",
        (kind, json.dumps(payload), now),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _known(db: sqlite3.Connection, campaign: str) -> Known | None:
    found = db.execute("SELECT data FROM campaigns WHERE name = ?", (campaign,)).fetchone()
    if found is not None:
        runs = db.execute(
            "SELECT name, json_extract(data, '$.spec') FROM runs WHERE campaign = ? "
            "ORDER BY position",
            (campaign,),
        )
        specs = {name: json.loads(spec) for name, spec in runs}
        return Known(campaign=Campaign.model_validate_json(found[0]), runs=specs)
    waiting = db.execute(
        "SELECT payload FROM requests WHERE answered_at IS NULL AND kind = 'submit' "
        "AND CASE WHEN json_valid(payload) THEN json_extract(payload, '$.campaign.name') END = ?",
        (campaign,),
    ).fetchone()
    if waiting is None:
        return None
    payload = json.loads(waiting[0])
    return Known(
        campaign=Campaign.model_validate(payload["campaign"]), runs=json.loads(payload["runs"])
    )


def _write(db: sqlite3.Connection, record: AnyRecord) -> None:
    if isinstance(record, HostSights):
        return
    data = record.model_dump_json()
    match record:
        case Campaign():
            db.execute("INSERT OR REPLACE INTO campaigns VALUES (?, ?)", (record.name, data))
        case Run():
            db.execute(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
                (record.campaign, record.name, record.order, record.status.status, data),
            )
        case Attempt():
            _write_attempt(db, record, data)
        case Checkpoint():
            db.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)",
                (*record.id, record.status.value, data),
            )
        case HostRecord():
            db.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?)", (record.name, data))
        case Quarantine():
            db.execute("INSERT OR REPLACE INTO quarantines VALUES (?, ?)", (record.device, data))
        case Alert():
            db.execute(
                "INSERT OR IGNORE INTO alerts (campaign, run, attempt, key, data) VALUES (?,?,?,?,?)",
                (*record.id, data),
            )
        case Progress():
            db.execute(
                "UPDATE attempts SET progress = ? WHERE campaign = ? AND run = ? AND number = ?",
                (json.dumps(record.progress), record.campaign, record.run, record.number),
            )


def _write_attempt(db: sqlite3.Connection, record: Attempt, data: str) -> None:
    """The attempt and its leases: the primary key on the device refuses a second lease."""
    db.execute(
        "INSERT INTO attempts (campaign, run, number, status, data) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET status = excluded.status, data = excluded.data",
        (*record.id, record.status.status, data),
    )
    if not record.leased:
        db.execute("DELETE FROM leases WHERE campaign = ? AND run = ? AND attempt = ?", record.id)
        return
    for device in record.devices:
        held = db.execute(
            "SELECT campaign, run, attempt FROM leases WHERE device = ?", (device,)
        ).fetchone()
        if held != record.id:
            db.execute("INSERT INTO leases VALUES (?, ?, ?, ?)", (device, *record.id))
