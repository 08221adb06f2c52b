"""The reading side of the store: rows for tables and JSON. Read-only; plain SQL, no pydantic.

A row is complete: a queued run says why it waits, a done one why it ended. Ten thousand runs are
read with the same number of queries as one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from campaign import naming
from campaign.database import open_database, open_empty, unreadable
from campaign.errors import NotFound
from campaign.following import Snapshot
from campaign.naming import RunName
from campaign.rows import (
    AlertRow,
    AttemptRow,
    CampaignRow,
    CheckpointRow,
    EventRow,
    RunRow,
    attempt_row,
    run_row,
)

_CAMPAIGN_FIELDS = ("name", "profile", "submitted_at", "git_commit", "git_dirty")
_CAMPAIGN = f"json_extract(data, {', '.join(repr('$.' + f) for f in _CAMPAIGN_FIELDS)})"
_RUN = (
    "campaign, name, json_extract(data, '$.status', '$.attempts', '$.spec.trainer.kind', "
    "'$.spec.trainer.steps', '$.spec.certify.metric', '$.changes')"
)
_ATTEMPT = (
    "campaign, run, number, status, json_extract(data, '$.status', '$.host', '$.devices', "
    "'$.start', '$.parent', '$.created_at', '$.verdict', '$.identity', '$.directory', '$.leased')"
)
_METRIC_OF_RUN = (
    "attempts JOIN (SELECT campaign AS of_campaign, name AS of_run, "
    "json_extract(data, '$.spec.certify.metric') AS metric FROM runs) "
    "ON of_campaign = campaign AND of_run = run"
)
_BRIEF_PROGRESS = """
CASE WHEN instr(metric, '"') OR json_type(progress, '$.latest."' || metric || '"') IS NULL
THEN progress
ELSE json_object(
    't', json_extract(progress, '$.t'), 'step', json_extract(progress, '$.step'),
    'steps_per_s', json_extract(progress, '$.steps_per_s'),
    'latest', json_object(metric, json_extract(progress, '$.latest."' || metric || '"')),
    'best', json_object(metric, json_extract(progress, '$.best."' || metric || '"')))
END"""
_SUBMITTED = "submitted; waits for a controller to take it"


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
        taken = [json.loads(data) for (data,) in self._query(f"SELECT {_CAMPAIGN} FROM campaigns")]
        known = {record[0] for record in taken}
        rows = [_campaign_row(record, waiting=False) for record in taken]
        for request in self._submits():
            made = request["campaign"]
            if made["name"] not in known:
                record = [made[key] for key in _CAMPAIGN_FIELDS]
                rows.append(_campaign_row(record, waiting=True))
        return sorted(rows, key=lambda row: -row.submitted_at)

    def runs(self, campaign: str | None = None, *, brief: bool = False) -> list[RunRow]:
        """Every run, or those of one campaign, in the order of submission.

        ``brief``: of the metrics the one to look at first will do, which is much faster.
        """
        where, arguments = _where(campaign=campaign)
        attempts: dict[tuple[str, str], list[AttemptRow]] = {}
        for attempt in self._attempts(where, arguments, brief=brief):
            attempts.setdefault((attempt.campaign, attempt.run), []).append(attempt)
        found = self._query(f"SELECT {_RUN} FROM runs {where} ORDER BY position", arguments)
        rows = [
            run_row(name, run, data, attempts.get((name, run), ()))
            for (name, run, _), data in zip(found, _loaded(row[2] for row in found), strict=True)
        ]
        return rows + self._waiting_runs(campaign, {row.campaign for row in rows})

    def snapshot(self, campaign: str) -> Snapshot:
        """All that the followers of a campaign look at."""
        return Snapshot(
            runs=tuple(self.runs(campaign)),
            attempts=tuple(self.attempts(campaign)),
            alerts=tuple(self.alerts(campaign)),
        )

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
            _checkpoint_row((c, r, n), step, status, json.loads(data), said.get((c, r, n), {}))
            for c, r, n, step, status, data in rows
        ]

    def alerts(
        self, campaign: str | None = None, run: str | None = None, *, after: int = 0
    ) -> list[AlertRow]:
        """Alerts and verdicts in the order in which they came; ``after``: newer than that id."""
        where, arguments = _where(campaign=campaign, run=run)
        where = f"{where} AND id > ?" if where else "WHERE id > ?"
        rows = self._query(f"SELECT id, data FROM alerts {where} ORDER BY id", (*arguments, after))
        return [AlertRow(id=number, **_without_key(json.loads(data))) for number, data in rows]

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
        known = {campaign for campaign, _ in rows}
        waiting = [
            (request["campaign"]["name"], run)
            for request in self._submits()
            if request["campaign"]["name"] not in known
            for run in request["runs"]
        ]
        return [*waiting, *((campaign, run) for campaign, run in rows)]

    def find_run(self, text: str) -> RunName:
        """The run that is meant by ``campaign/run`` or ``run``. Raises NotFound."""
        return naming.find_run(text, self.names())

    def find_campaign(self, text: str) -> str:
        """The campaign of that name. Raises NotFound."""
        return naming.find_campaign(text, [row.name for row in self.campaigns()])

    # ------------------------------------------------------------ inside

    def _query(self, sql: str, arguments: Sequence[object] = ()) -> list[Any]:
        try:
            return self._db.execute(sql, arguments).fetchall()
        except sqlite3.DatabaseError as error:
            raise unreadable(self._path, error) from error

    def _attempts(
        self, where: str, arguments: Sequence[object], *, brief: bool = False
    ) -> list[AttemptRow]:
        table = _METRIC_OF_RUN if brief else "attempts"
        progress = _BRIEF_PROGRESS if brief else "progress"
        rows = self._query(
            f"SELECT {_ATTEMPT}, {progress} FROM {table} {where} ORDER BY campaign, run, number",
            arguments,
        )
        fields = _loaded(row[4] for row in rows)
        progresses = _loaded(row[5] for row in rows)
        return [
            attempt_row(campaign, run, number, status, data, seen or {})
            for (campaign, run, number, status, *_), data, seen in zip(
                rows, fields, progresses, strict=True
            )
        ]

    def _submits(self) -> list[Mapping[str, Any]]:
        """Campaigns that were submitted and not taken yet: ``campaign`` and ``runs``."""
        rows = self._query(
            "SELECT payload FROM requests WHERE answered_at IS NULL AND kind = 'submit' ORDER BY id"
        )
        found = [json.loads(payload) for (payload,) in rows]
        return [{**payload, "runs": json.loads(payload["runs"])} for payload in found]

    def _waiting_runs(self, campaign: str | None, known: set[str]) -> list[RunRow]:
        rows = []
        for request in self._submits():
            name = request["campaign"]["name"]
            if name in known or campaign not in (None, name):
                continue
            for run, spec in request["runs"].items():
                status = {"status": "queued", "why": _SUBMITTED}
                trainer = spec["trainer"]
                metric = spec["certify"]["metric"]
                fields = [status, 0, trainer["kind"], trainer.get("steps"), metric, {}]
                rows.append(run_row(name, run, fields, ()))
        return rows


def _loaded(texts: Iterable[str | None]) -> list[Any]:
    """The values of many JSON texts, parsed at one go; None where there is no text."""
    values: list[Any] = json.loads(f"[{','.join(text or 'null' for text in texts)}]")
    return values


def _where(**columns: str | None) -> tuple[str, tuple[object, ...]]:
    """A WHERE clause over the columns that are given."""
    given = {name: value for name, value in columns.items() if value is not None}
    if not given:
        return "", ()
    return "WHERE " + " AND ".join(f"{name} = ?" for name in given), tuple(given.values())


def _campaign_row(record: Sequence[Any], *, waiting: bool) -> CampaignRow:
    name, profile, submitted_at, commit, dirty = record
    return CampaignRow(
        name=name,
        profile=profile,
        submitted_at=submitted_at,
        git_commit=commit,
        git_dirty=bool(dirty),
        waiting=waiting,
    )


def _checkpoint_row(
    attempt: tuple[str, str, int],
    step: int,
    status: str,
    fields: Sequence[Any],
    said: Mapping[str, Mapping[str, Any]],
) -> CheckpointRow:
    """``fields``: path, host, completed_at, reason, evidence; ``said``: the watcher's words by step."""
    path, host, completed_at, reason, evidence = fields
    return CheckpointRow(
        campaign=attempt[0],
        run=attempt[1],
        attempt=attempt[2],
        step=step,
        status=status,
        reason=reason or said.get(str(step), {}).get("reason", ""),
        path=path,
        host=host,
        completed_at=completed_at,
        evidence=evidence,
    )


def _without_key(alert: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in alert.items() if name != "key"}
