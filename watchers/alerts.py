"""Telling people: who has been told what, what to send now. Nothing that kills waits for it.

Delivery is at least once: an alert is noted as sent after it was sent, so a crash between the two
sends it again. It is never noted as sent without having been handed over.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from specs.files import append_line, complete_lines

LIMIT_SECONDS = 60.0
FIRST_RETRY, LAST_RETRY = 5.0, 600.0
GIVE_UP_AFTER = 86400.0


class SinkFailed(Exception):
    """A sink did not take a message; the message says why, without any secret."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """``key`` names it for ever and everywhere; ``t`` in unix seconds.

    ``group``: whose it is (a campaign). In a storm each group gets a message, and none hides another.
    """

    key: str
    t: float
    title: str
    text: str
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class _Failures:
    """A row of failures of a sink: when it began, and when to try again (unix seconds)."""

    first: float
    count: int = 0
    next_try: float = 0.0


class Sink(Protocol):
    """A way to people. ``limit``: messages a minute, None for as many as come."""

    @property
    def name(self) -> str: ...

    @property
    def limit(self) -> int | None: ...

    def send(self, alert: Alert) -> None:
        """Hand a message over. Raises SinkFailed."""
        ...


class SentLog:
    """What was sent to which sink, in a JSONL file: {"t", "sink", "keys", "state"}.

    One line a message: a digest has many keys. ``state`` is ``sent`` or ``given_up``; ``began`` says from
    which time on the sink is told (``t``). How a sink fails is kept in memory only: after a restart it
    is tried at once. Several threads may use it, each for a sink of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: dict[str, set[str]] = {}
        self._times: dict[str, list[float]] = {}
        self._since: dict[str, float] = {}
        self._failures: dict[str, _Failures] = {}
        self._unwritten: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self.problem: str | None = None
        """Why the file cannot be written now: until it can, a crash would send again what was sent."""
        for line in _lines(path):
            self._note(line)

    def begin(self, sink: str, *, since: float) -> None:
        """From when on a sink is told; what was said first holds, whatever comes later."""
        if sink not in self._since:
            self._record({"t": since, "sink": sink, "keys": [], "state": "began"})

    def wants(self, sink: str, alert: Alert) -> bool:
        """Whether the sink is still to get the alert."""
        return not self.has(sink, alert.key) and alert.t >= self._since.get(sink, alert.t)

    def has(self, sink: str, key: str) -> bool:
        return key in self._done.get(sink, ())

    def record(self, sink: str, keys: Sequence[str], *, t: float, state: str = "sent") -> None:
        """On the disk when it returns. Where that is not possible it is kept, is not sent again by
        this process, and is written with the next one."""
        self._record({"t": t, "sink": sink, "keys": list(keys), "state": state})
        if state == "sent":
            self._failures.pop(sink, None)

    def messages_since(self, sink: str, t: float) -> int:
        recent = [time for time in self._times.get(sink, ()) if time > t]
        self._times[sink] = recent
        return len(recent)

    def fail(self, sink: str, *, now: float) -> None:
        """Do not try the sink again for a while: the pause doubles."""
        before = self._failures.get(sink, _Failures(first=now))
        pause = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(before.count, 16))
        self._failures[sink] = _Failures(
            first=before.first, count=before.count + 1, next_try=now + pause
        )

    def failing_since(self, sink: str, *, now: float) -> float:
        """Since when it has taken nothing; ``now`` if it was not tried, or took the last message."""
        return self._failures.get(sink, _Failures(first=now)).first

    def may_try(self, sink: str, *, now: float) -> bool:
        return now >= self._failures.get(sink, _Failures(first=now)).next_try

    def _record(self, line: dict[str, Any]) -> None:
        self._note(line)
        with self._guard:
            self._unwritten.append(line)
            try:
                while self._unwritten:
                    append_line(self._path, self._unwritten[0])
                    del self._unwritten[0]
                self.problem = None
            except OSError as error:
                self.problem = f"{self._path} cannot be written: {error.strerror}"

    def _note(self, line: Mapping[str, Any]) -> None:
        sink = line["sink"]
        if line["state"] == "began":
            self._since.setdefault(sink, float(line["t"]))
            return
        self._done.setdefault(sink, set()).update(line["keys"])
        if line["state"] == "sent":
            self._times.setdefault(sink, []).append(float(line["t"]))


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of the alerts, counted per sink; ``failed`` holds the reasons."""

    sent: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    given_up: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def deliver(
    alerts: Sequence[Alert],
    sinks: Sequence[Sink],
    sent: SentLog,
    *,
    now: float,
    last: bool = False,
) -> Delivery:
    """Send each alert to each sink that does not have it yet. Call it again for what waits.

    ``now``: unix seconds. More alerts than a sink's limit are put into digests. A failing sink is left
    alone for a while (5 s, doubling to 10 min); what it has not taken after a day of trying is given up.
    ``last``: nobody may call for long, so that one digest is sent even beyond a sink's limit.
    """
    done: dict[str, int] = {}
    waiting: dict[str, int] = {}
    given_up: dict[str, int] = {}
    failed: dict[str, str] = {}
    for sink in sinks:
        unsent = [a for a in _once(alerts) if sent.wants(sink.name, a)]
        if unsent and sent.may_try(sink.name, now=now):
            try:
                _send(unsent, sink, sent, now, least=1 if last else 0)
            except SinkFailed as error:
                failed[sink.name] = str(error)
                sent.fail(sink.name, now=now)
                given_up[sink.name] = _give_up(unsent, sink, sent, now)
        left = sum(sent.wants(sink.name, a) for a in unsent)
        waiting[sink.name] = left
        done[sink.name] = len(unsent) - left - given_up.get(sink.name, 0)
    return Delivery(sent=done, waiting=waiting, given_up=given_up, failed=failed)


def pack(alerts: Sequence[Alert], room: int | None) -> list[tuple[Alert, tuple[str, ...]]]:
    """The messages to send now, each with the keys it covers: at most ``room``.

    Where there are more alerts, the room is shared out evenly among the groups, and the last message
    of a group is a digest of its rest. More groups than room: one digest of everything.
    """
    if room is None or len(alerts) <= room:
        return [(alert, (alert.key,)) for alert in alerts]
    if room <= 0:
        return []
    groups: dict[str, list[Alert]] = {}
    for alert in alerts:
        groups.setdefault(alert.group, []).append(alert)
    if len(groups) > room:
        return [_digest(alerts)]
    shares = _shares([len(group) for group in groups.values()], room)
    return [
        message
        for group, share in zip(groups.values(), shares, strict=True)
        for message in _shortened(group, share)
    ]


def _shares(sizes: Sequence[int], room: int) -> list[int]:
    """``room`` dealt out one by one, nobody getting more than its size: at least one each."""
    shares = [1] * len(sizes)
    for _ in range(room - len(sizes)):
        hungry = [i for i, size in enumerate(sizes) if shares[i] < size]
        if hungry:
            shares[min(hungry, key=lambda i: shares[i])] += 1
    return shares


def _shortened(alerts: Sequence[Alert], room: int) -> list[tuple[Alert, tuple[str, ...]]]:
    """One group's messages, ``room`` of them or fewer; room is at least 1."""
    if len(alerts) <= room:
        return [(alert, (alert.key,)) for alert in alerts]
    single, rest = alerts[: room - 1], alerts[room - 1 :]
    return [*((a, (a.key,)) for a in single), _digest(rest)]


def _digest(rest: Sequence[Alert]) -> tuple[Alert, tuple[str, ...]]:
    message = Alert(
        key=f"digest:{rest[0].key}",
        t=rest[-1].t,
        title=f"{len(rest)} more alerts; the newest: {rest[-1].title}",
        text="\n".join(f"{alert.title}: {alert.text}" for alert in rest[-5:]),
        group=rest[-1].group,
    )
    return message, tuple(alert.key for alert in rest)


def _send(alerts: Sequence[Alert], sink: Sink, sent: SentLog, now: float, *, least: int) -> None:
    room = None
    if sink.limit is not None:
        room = max(least, sink.limit - sent.messages_since(sink.name, now - LIMIT_SECONDS))
    for message, keys in pack(alerts, room):
        sink.send(message)
        sent.record(sink.name, keys, t=now)


def _give_up(alerts: Sequence[Alert], sink: Sink, sent: SentLog, now: float) -> int:
    tried_since = sent.failing_since(sink.name, now=now)
    old = [
        a.key
        for a in alerts
        if now - max(a.t, tried_since) > GIVE_UP_AFTER and sent.wants(sink.name, a)
    ]
    if old:
        sent.record(sink.name, old, t=now, state="given_up")
    return len(old)


def _once(alerts: Sequence[Alert]) -> list[Alert]:
    return list({alert.key: alert for alert in alerts}.values())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The readable lines; a torn one was not yet noted, so its message may be sent again."""
    if not path.exists():
        return []
    found = []
    for raw in complete_lines(path.read_bytes()):
        try:
            line = json.loads(raw)
            found.append({name: line[name] for name in ("t", "sink", "keys", "state")})
        except (ValueError, KeyError, TypeError):  # torn by a crash in mid-write
            continue
    return found
