"""What people are told of a home, and by which ways: from the store's records to alerts for the sinks."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.database import open_database, unreadable
from campaign.home import Home
from watchers.alerts import Alert, Sink, SinkFailed
from watchers.sinks import make_sinks

_ALERTS = "SELECT id, campaign, run, attempt, key, data FROM alerts WHERE id > ? ORDER BY id"
_EVENTS = "SELECT id, at, kind, note FROM events WHERE id > ? ORDER BY id"
_QUARANTINES = "SELECT device, data FROM quarantines"
# a run that a rule ended has been told by the alert with the same reason
_ENDED = """
SELECT campaign, name, at, result, reason FROM (
    SELECT campaign, name, json_extract(data, '$.status.at') AS at,
        json_extract(data, '$.status.ending.result') AS result,
        json_extract(data, '$.status.ending.reason') AS reason
    FROM runs WHERE status = 'done') AS ended
WHERE result IN ('failed', 'killed', 'lost') AND NOT EXISTS (
    SELECT 1 FROM alerts WHERE alerts.campaign = ended.campaign AND alerts.run = ended.name
        AND json_extract(alerts.data, '$.reason') = ended.reason)
ORDER BY at"""


class News:
    """What the store has to tell: alerts and verdicts, hosts that do not answer, quarantined devices,
    runs that ended badly. Read-only. Keys hold times, so that a new store under an old log is told.
    """

    def __init__(self, store: Path) -> None:
        self._path = store
        self._db: sqlite3.Connection | None = None
        self._version = -1
        self._alert = self._event = 0
        self._told: set[str] = set()

    def fresh(self) -> list[Alert]:
        """What was not told by this object before, oldest first within its kind. Raises BadStore."""
        if self._db is None:
            if not self._path.exists():
                return []
            self._db = open_database(self._path, readonly=True)
        try:
            version = self._db.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version:
                return []
            self._version = version
            return list(self._new(self._db))
        except sqlite3.DatabaseError as error:
            raise unreadable(self._path, error) from error

    def _new(self, db: sqlite3.Connection) -> Iterator[Alert]:
        for number, campaign, run, attempt, key, data in db.execute(_ALERTS, (self._alert,)):
            self._alert = number
            attempted = f"{campaign}/{run}/attempt-{attempt}"
            # what the controller itself tells is of no attempt, and perhaps of no campaign
            where = attempted if run else campaign or "campaign"
            yield alert_of(json.loads(data), where, key, campaign)
        events = db.execute(_EVENTS, (self._event,)).fetchall()
        if not events:
            return  # nothing ended and nothing was quarantined without an event
        self._event = events[-1][0]
        for number, at, kind, note in events:
            if kind == "HostLost":
                yield Alert(key=f"event:{number}@{at:.3f}", t=at, title="host lost", text=note)
        for alert in (*_quarantined(db), *_ended(db)):
            if alert.key not in self._told:
                self._told.add(alert.key)
                yield alert


def alert_of(record: dict[str, Any], where: str, key: str, campaign: str) -> Alert:
    """The message of an alert record; ``where`` names its attempt."""
    return Alert(
        key=f"{where}:{key}@{record['at']:.3f}",
        t=float(record["at"]),
        title=f"{where}: {record['rule']} ({record['action']})",
        text=str(record["reason"]),
        group=campaign,
    )


def _quarantined(db: sqlite3.Connection) -> Iterator[Alert]:
    for device, data in db.execute(_QUARANTINES):
        record = json.loads(data)
        since = float(record["since"])
        yield Alert(
            key=f"quarantine:{device}@{since:.3f}",
            t=since,
            title=f"{device} is quarantined",
            text=f"{record['reason']}; campaign gpus --release {device}",
        )


def _ended(db: sqlite3.Connection) -> Iterator[Alert]:
    for campaign, run, at, result, reason in db.execute(_ENDED):
        yield Alert(
            key=f"{campaign}/{run}:ended@{at:.3f}",
            t=float(at),
            title=f"{campaign}/{run} is over: {result}",
            text=str(reason),
            group=campaign,
        )


# ---------------------------------------------------------------- the ways


def sinks_of(home: Home, *, desktop: bool, urls: Sequence[str]) -> tuple[Sink, ...]:
    """alerts.log and the controller's log always, the others as configured. Raises BadReference."""
    logs = (home.alerts_log, home.controller_log)
    return make_sinks(logs=logs, desktop=desktop, references=urls)


@dataclass(frozen=True, kw_only=True)
class SinkTest:
    """What became of a test message. ``detail``: why it was not taken, without any secret."""

    sink: str
    ok: bool
    detail: str


def try_sinks(sinks: Sequence[Sink]) -> tuple[SinkTest, ...]:
    """Send a test message to each sink, one after the other; at most some 10 s each."""
    now = time.time()
    test = Alert(
        key=f"test@{now:.3f}",
        t=now,
        title="campaign: a test",
        text="this is how an alert will look; nothing happened",
    )
    return tuple(_tried(sink, test) for sink in sinks)


def _tried(sink: Sink, test: Alert) -> SinkTest:
    try:
        sink.send(test)
    except SinkFailed as error:
        return SinkTest(sink=sink.name, ok=False, detail=str(error))
    return SinkTest(sink=sink.name, ok=True, detail="")
