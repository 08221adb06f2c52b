"""Telling people: a durable outbox. Nothing that kills waits for it.

Delivery is at least once: an alert is noted as sent after it was sent, so a crash between the two
sends it again. It is never noted as sent without having been handed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
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
    """``key`` names it for ever and everywhere; ``t`` in unix seconds."""

    key: str
    t: float
    title: str
    text: str


class Sink(Protocol):
    """A way to people. ``limit``: messages a minute, None for as many as come."""

    @property
    def name(self) -> str: ...

    @property
    def limit(self) -> int | None: ...

    def send(self, alert: Alert) -> None:
        """Hand a message over. Raises SinkFailed."""
        ...


def alert_of(line: Mapping[str, Any], *, where: str) -> Alert:
    """The alert for a line of watch.jsonl; ``where`` names its attempt (campaign/run/attempt)."""
    what = line.get("rule") or line.get("kind")
    return Alert(
        key=f"{where}:{line['key']}",
        t=float(line["t"]),
        title=f"{where}: {what}" + (f" ({line['action']})" if line.get("action") else ""),
        text=str(line.get("reason", "")),
    )


class SentLog:
    """What was sent to which sink, in a JSONL file: {"t", "sink", "keys", "state"}.

    One line a message: a digest has many keys. ``state`` is ``sent`` or ``given_up``. How a sink
    fails is kept in memory only: after a restart it is tried at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: dict[str, set[str]] = {}
        self._times: dict[str, list[float]] = {}
        self._failures: dict[str, tuple[int, float]] = {}
        for line in _lines(path):
            self._note(line["sink"], line["keys"], float(line["t"]))

    def has(self, sink: str, key: str) -> bool:
        return key in self._done.get(sink, ())

    def record(self, sink: str, keys: Sequence[str], *, t: float, state: str = "sent") -> None:
        """Durable when it returns. Raises OSError."""
        append_line(self._path, {"t": t, "sink": sink, "keys": list(keys), "state": state})
        self._note(sink, keys, t)
        if state == "sent":
            self._failures.pop(sink, None)

    def messages_since(self, sink: str, t: float) -> int:
        recent = [time for time in self._times.get(sink, ()) if time > t]
        self._times[sink] = recent
        return len(recent)

    def fail(self, sink: str, *, now: float) -> None:
        """Do not try the sink again for a while: the pause doubles."""
        count = self._failures.get(sink, (0, 0.0))[0]
        pause = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(count, 16))
        self._failures[sink] = (count + 1, now + pause)

    def may_try(self, sink: str, *, now: float) -> bool:
        return now >= self._failures.get(sink, (0, now))[1]

    def _note(self, sink: str, keys: Iterable[str], t: float) -> None:
        self._done.setdefault(sink, set()).update(keys)
        self._times.setdefault(sink, []).append(t)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of the alerts, counted per sink; ``failed`` holds the reasons."""

    sent: Mapping[str, int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    given_up: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def deliver(
    alerts: Sequence[Alert], sinks: Sequence[Sink], sent: SentLog, *, now: float
) -> Delivery:
    """Send each alert to each sink that does not have it yet. Call it again for what waits.

    ``now``: unix seconds. More alerts than a sink's limit are put into one digest. A failing sink is
    left alone for a while (5 s, doubling to 10 min); what it has not taken after a day is given up.
    """
    done: dict[str, int] = {}
    waiting: dict[str, int] = {}
    given_up: dict[str, int] = {}
    failed: dict[str, str] = {}
    for sink in sinks:
        unsent = [a for a in _once(alerts) if not sent.has(sink.name, a.key)]
        if unsent and sent.may_try(sink.name, now=now):
            try:
                _send(unsent, sink, sent, now)
            except SinkFailed as error:
                failed[sink.name] = str(error)
                given_up[sink.name] = _give_up(unsent, sink, sent, now)
                sent.fail(sink.name, now=now)
        left = sum(not sent.has(sink.name, a.key) for a in unsent)
        waiting[sink.name] = left
        done[sink.name] = len(unsent) - left - given_up.get(sink.name, 0)
    return Delivery(sent=done, waiting=waiting, given_up=given_up, failed=failed)


def pack(alerts: Sequence[Alert], room: int | None) -> list[tuple[Alert, tuple[str, ...]]]:
    """The messages to send now, each with the keys it covers: at most ``room``, the last a digest."""
    if room is None or len(alerts) <= room:
        return [(alert, (alert.key,)) for alert in alerts]
    if room <= 0:
        return []
    single, rest = alerts[: room - 1], alerts[room - 1 :]
    digest = Alert(
        key=f"digest:{rest[0].key}",
        t=rest[-1].t,
        title=f"{len(rest)} more alerts; the newest: {rest[-1].title}",
        text="\n".join(f"{alert.title}: {alert.text}" for alert in rest[-5:]),
    )
    return [*((a, (a.key,)) for a in single), (digest, tuple(a.key for a in rest))]


def _send(alerts: Sequence[Alert], sink: Sink, sent: SentLog, now: float) -> None:
    room = None
    if sink.limit is not None:
        room = sink.limit - sent.messages_since(sink.name, now - LIMIT_SECONDS)
    for message, keys in pack(alerts, room):
        sink.send(message)
        sent.record(sink.name, keys, t=now)


def _give_up(alerts: Sequence[Alert], sink: Sink, sent: SentLog, now: float) -> int:
    old = [a.key for a in alerts if now - a.t > GIVE_UP_AFTER and not sent.has(sink.name, a.key)]
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
            found.append({"t": line["t"], "sink": line["sink"], "keys": line["keys"]})
        except (ValueError, KeyError, TypeError):  # torn by a crash in mid-write
            continue
    return found
