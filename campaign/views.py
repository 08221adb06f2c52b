"""The reading side of the store: rows for tables and JSON. Read-only; plain SQL, no pydantic.

A row is complete: a queued run says why it waits, a done one why it ended. Ten thousand runs are
read with the same number of queries as one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from campaign import naming, queries
from campaign.database import open_database, open_empty, unreadable
from campaign.errors import NotFound, WrongState
from campaign.following import Snapshot
from campaign.naming import RunName
from campaign.row_making import (
    alert_row,
    attempt_rows,
    campaign_row,
    checkpoint_row,
    run_rows,
    waiting_run,
)
from campaign.rows import AlertRow, AttemptRow, CampaignRow, CheckpointRow, EventRow, RunRow

_IN_ORDER = "ORDER BY position"
_BY_NUMBER = "ORDER BY campaign, run, number"


class Reader:
    """One read-only connection to the store of a home; a home without a store reads as empty."""

    def __init__(self, store: Path) -> None:
        self._path = store
        self._db = open_database(store, readonly=True) if store.exists() else open_empty()

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> int:
        """Changes whenever something was committed: the cheap question before a read."""
        return int(self._query("PRAGMA data_version")[0][0])

    # ------------------------------------------------------------ campaigns and runs

    def campaigns(self) -> list[CampaignRow]:
        """Every campaign, newest first; one that no controller has taken yet is ``waiting``."""
        taken = [
            json.loads(data) for (data,) in self._query(f"SELECT {queries.CAMPAIGN} FROM campaigns")
        ]
        rows = [campaign_row(record, waiting=False) for record in taken]
        for request in self._submits():
            record = [request["campaign"][key] for key in queries.CAMPAIGN_FIELDS]
            rows.append(campaign_row(record, waiting=True))
        return sorted(rows, key=lambda row: -row.submitted_at)

    def runs(self, campaign: str | None = None) -> list[RunRow]:
        """Every run, or those of one campaign, in the order of submission."""
        where, arguments = _where(campaign=campaign)
        with self._still():
            runs = self._query(f"SELECT {queries.RUN} FROM runs {where} {_IN_ORDER}", arguments)
            rows = run_rows(runs, self._attempts(where, arguments))
            return rows + self._waiting_runs(campaign)

    def brief_runs(self, campaign: str | None = None, *, newest: int) -> tuple[list[RunRow], int]:
        """The runs submitted last, each with the one metric to look at first; and how many there are.

        Faster than `runs`: SQLite leaves the other metrics where they are.
        """
        where, arguments = _where(campaign=campaign)
        with self._still():
            ((count,),) = self._query(f"SELECT count(*) FROM runs {where}", arguments)
            chosen = f"(SELECT * FROM runs {where} ORDER BY position DESC LIMIT ?)"
            arguments = (*arguments, newest)
            runs = self._query(f"SELECT {queries.RUN} FROM {chosen} {_IN_ORDER}", arguments)
            attempts = attempt_rows(self._query(queries.brief_attempts(chosen), arguments))
            waiting = self._waiting_runs(campaign)
            return run_rows(runs, attempts) + waiting, count + len(waiting)

    def snapshot(self, campaign: str) -> Snapshot:
        """All that the followers of a campaign look at."""
        with self._still():
            return Snapshot(
                runs=tuple(self.runs(campaign)),
                attempts=tuple(self.attempts(campaign)),
                alerts=tuple(self.alerts(campaign)),
            )

    def refusal(self, campaign: str) -> str | None:
        """The answer to the newest submit of a campaign that is not there, if it was refused."""
        found = self._query(
            "SELECT answer FROM requests WHERE kind = 'submit' AND answer LIKE 'refused:%' "
            f"AND {queries.OF_CAMPAIGN} = ? ORDER BY id DESC LIMIT 1",
            (campaign,),
        )
        there = self._query("SELECT 1 FROM campaigns WHERE name = ?", (campaign,))
        return str(found[0][0]) if found and not there else None

    def run_data(self, run: RunName) -> Mapping[str, Any]:
        """The whole record of a run. Raises NotFound."""
        found = self._query("SELECT data FROM runs WHERE campaign = ? AND name = ?", run)
        if found:
            return dict(json.loads(found[0][0]))
        for request in self._submits():
            if request["campaign"]["name"] == run[0] and run[1] in request["runs"]:
                return {"spec": request["runs"][run[1]], "changes": {}}
        raise NotFound(f"there is no run {run[0]}/{run[1]}")

    def campaign_data(self, campaign: str) -> Mapping[str, Any] | None:
        """The whole record of a campaign; None if no controller has taken it yet."""
        found = self._query("SELECT data FROM campaigns WHERE name = ?", (campaign,))
        return dict(json.loads(found[0][0])) if found else None

    # ------------------------------------------------------------ what belongs to runs

    def attempts(self, campaign: str | None = None, run: str | None = None) -> list[AttemptRow]:
        """Attempts, oldest first."""
        return self._attempts(*_where(campaign=campaign, run=run))

    def checkpoints(
        self, campaign: str | None = None, run: str | None = None
    ) -> list[CheckpointRow]:
        """Checkpoints with what is to be said of each, in the order of attempts and steps."""
        where, arguments = _where(campaign=campaign, run=run)
        said = {
            (a.campaign, a.run, a.number): a.progress.get("checkpoints", {})
            for a in self._attempts(where, arguments)
        }
        fields = "'$.path', '$.host', '$.completed_at', '$.reason', '$.evidence'"
        rows = self._query(
            f"SELECT campaign, run, attempt, step, status, json_extract(data, {fields}) "
            f"FROM checkpoints {where} ORDER BY campaign, run, attempt, step",
            arguments,
        )
        return [
            checkpoint_row((c, r, n), step, status, json.loads(data), said.get((c, r, n), {}))
            for c, r, n, step, status, data in rows
        ]

    def alerts(
        self, campaign: str | None = None, run: str | None = None, *, after: int = 0
    ) -> list[AlertRow]:
        """Alerts and verdicts in the order in which they came; ``after``: newer than that id."""
        where, arguments = _where(campaign=campaign, run=run)
        where = f"{where} AND id > ?" if where else "WHERE id > ?"
        rows = self._query(f"SELECT id, data FROM alerts {where} ORDER BY id", (*arguments, after))
        return [alert_row(number, json.loads(data)) for number, data in rows]

    def events(self, about: str | None = None, *, most: int = 1000) -> list[EventRow]:
        """The newest lines of the event log, oldest first; ``about``: those that name this."""
        where, arguments = ("WHERE instr(note, ?)", (about,)) if about else ("", ())
        rows = self._query(
            f"SELECT id, at, kind, note FROM events {where} ORDER BY id DESC LIMIT ?",
            (*arguments, most),
        )
        return [EventRow(id=i, at=at, kind=kind, note=note) for i, at, kind, note in reversed(rows)]

    # ------------------------------------------------------------ hosts

    def hosts(self) -> list[Mapping[str, Any]]:
        """Every host ever seen, as it was last seen."""
        rows = self._query("SELECT data FROM hosts ORDER BY name")
        return [json.loads(data) for (data,) in rows]

    def leases(self) -> dict[str, AttemptRow]:
        """Device -> the attempt that holds it."""
        held = self._query("SELECT device, campaign, run, attempt FROM leases")
        holders = self._attempts(
            "WHERE (campaign, run, number) IN (SELECT campaign, run, attempt FROM leases)", ()
        )
        attempts = {(a.campaign, a.run, a.number): a for a in holders}
        return {device: attempts[c, r, n] for device, c, r, n in held if (c, r, n) in attempts}

    def cookies(self) -> dict[tuple[str, str, int], str]:
        """The cookie of every attempt that holds a device: which processes are its own."""
        rows = self._query(
            "SELECT a.campaign, a.run, a.number, json_extract(a.data, '$.cookie') FROM attempts a "
            "JOIN leases l ON (l.campaign, l.run, l.attempt) = (a.campaign, a.run, a.number)"
        )
        return {(c, r, n): cookie for c, r, n, cookie in rows}

    def quarantines(self) -> dict[str, str]:
        """Device -> why it is not offered."""
        rows = self._query(
            "SELECT device, json_extract(data, '$.reason') FROM quarantines "
            "WHERE NOT json_extract(data, '$.lifted')"
        )
        return dict(rows)

    # ------------------------------------------------------------ names

    def names(self) -> list[RunName]:
        """(campaign, run) of every run, newest campaign first."""
        rows = self._query("SELECT campaign, name FROM runs ORDER BY position DESC")
        waiting = [
            (request["campaign"]["name"], run)
            for request in self._submits()
            for run in request["runs"]
        ]
        return [*waiting, *((campaign, run) for campaign, run in rows)]

    def find_run(self, text: str) -> RunName:
        """The run that is meant by ``campaign/run`` or ``run``. Raises NotFound."""
        return naming.find_run(text, self.names())

    def find_campaign(self, text: str) -> str:
        """The campaign of that name. Raises NotFound, and WrongState where its submit was refused."""
        names = [row.name for row in self.campaigns()]
        if text not in names and (refusal := self.refusal(text)) is not None:
            raise WrongState(refusal)
        return naming.find_campaign(text, names)

    def find_either(self, text: str | None) -> tuple[str | None, str | None]:
        """(campaign, run) that is meant: both None for everything. Raises NotFound."""
        if text is None:
            return None, None
        campaigns = [row.name for row in self.campaigns()]
        if text in campaigns:
            return text, None
        return naming.find_run(text, self.names(), campaigns=campaigns)

    # ------------------------------------------------------------ inside

    def _query(self, sql: str, arguments: Sequence[object] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.DatabaseError as error:
            raise unreadable(self._path, error) from error

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Several queries see one state of the store."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def _attempts(self, where: str, arguments: Sequence[object]) -> list[AttemptRow]:
        sql = f"SELECT {queries.ATTEMPT}, progress FROM attempts {where} {_BY_NUMBER}"
        return attempt_rows(self._query(sql, arguments))

    def _submits(self) -> list[Mapping[str, Any]]:
        """Campaigns that were submitted and not taken yet: ``campaign`` and ``runs``."""
        rows = self._query(
            "SELECT payload FROM requests WHERE answered_at IS NULL AND kind = 'submit' "
            f"AND {queries.OF_CAMPAIGN} NOT IN (SELECT name FROM campaigns) ORDER BY id"
        )
        found = (_submit_of(payload) for (payload,) in rows)
        return [submit for submit in found if submit is not None]

    def _waiting_runs(self, campaign: str | None) -> list[RunRow]:
        """Runs of campaigns that no controller has taken yet."""
        return [
            waiting_run(request["campaign"]["name"], run, spec)
            for request in self._submits()
            if campaign in (None, request["campaign"]["name"])
            for run, spec in request["runs"].items()
        ]


def _submit_of(text: str) -> Mapping[str, Any] | None:
    """A submit as it was written; None where it has not its shape: the controller will refuse it."""
    try:
        payload = json.loads(text)
        runs = json.loads(payload["runs"])
        known = all(field in payload["campaign"] for field in queries.CAMPAIGN_FIELDS)
    except (ValueError, TypeError, KeyError):
        return None
    shaped = isinstance(runs, dict) and all(isinstance(spec, dict) for spec in runs.values())
    return {**payload, "runs": runs} if known and shaped else None


def _where(**columns: str | None) -> tuple[str, tuple[object, ...]]:
    """A WHERE clause over the columns that are given."""
    given = {name: value for name, value in columns.items() if value is not None}
    if not given:
        return "", ()
    return "WHERE " + " AND ".join(f"{name} = ?" for name in given), tuple(given.values())
