"""The notifier of a home: a process of its own that tells people what the store has to tell.

    python -P -m campaign.notifier --home HOME --starter PID [--desktop] [--url REFERENCE]...

The store is the outbox, HOME/alerts-sent.jsonl says what was handed to whom: it may be killed at any
moment, and the next one goes on. It ends with its starter, the controller. No kill and no training
waits for it. Exit codes: 0 ended as asked, 1 the store cannot be read, 5 another one runs.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import IO

from campaign.alerting import News, sinks_of
from campaign.errors import BadStore, ExitCode
from campaign.home import Home
from watchers.alerts import Alert, Delivery, SentLog, Sink, deliver

LOOK_EVERY = 0.5
FLUSH_DEADLINE = 12.0
"""Seconds at the end for what is being sent: one message to a service takes 10 s at most."""

NEWCOMER_HEARS = 3600.0
"""A sink that is new gets what is at most so old (seconds), not the history of the home."""

_NICENESS = 10


@dataclass(kw_only=True)
class _Box:
    """What waits for one sink, and the delivery that is under way."""

    sink: Sink
    waiting: list[Alert] = field(default_factory=list)
    sending: Future[Delivery] | None = None
    trouble: str = ""


class Notifier:
    """Hands what is new to every sink. Each has at most one delivery under way, so that a slow sink
    holds up no other. ``clock`` gives unix seconds; ``say`` gets a line where a sink fails.
    """

    def __init__(
        self,
        *,
        news: Callable[[], Sequence[Alert]],
        sinks: Sequence[Sink],
        sent: SentLog,
        pool: Executor,
        clock: Callable[[], float],
        say: Callable[[str], None],
    ) -> None:
        self._news, self._sent, self._pool = news, sent, pool
        self._clock, self._say = clock, say
        self._boxes = [_Box(sink=sink) for sink in sinks]
        self._trouble: str | None = None
        for sink in sinks:
            # one without a limit is a log, which is to be complete
            sent.begin(sink.name, since=0.0 if sink.limit is None else clock() - NEWCOMER_HEARS)

    def turn(self) -> None:
        """Look for news, take in what was sent, send what waits; returns at once."""
        fresh = self._news()
        for box in self._boxes:
            self._take_in(box)
            box.waiting += [alert for alert in fresh if self._sent.wants(box.sink.name, alert)]
            if box.waiting and box.sending is None:
                self._send(box)
        if self._sent.problem != self._trouble:
            self._trouble = self._sent.problem
            self._say(self._trouble or "what was sent is noted again")

    def finish(self, deadline: float) -> None:
        """Send what there is, for at most ``deadline`` seconds; the rest is for the next notifier."""
        until = time.monotonic() + deadline
        self.turn()
        self._wait(until)
        for box in self._boxes:
            self._take_in(box)
            if box.waiting and box.sending is None:
                self._send(box, last=True)
        self._wait(until)

    def _wait(self, until: float) -> None:
        sending = [box.sending for box in self._boxes if box.sending is not None]
        wait(sending, timeout=max(0.0, until - time.monotonic()))

    def _send(self, box: _Box, *, last: bool = False) -> None:
        now, name = self._clock(), box.sink.name
        if self._sent.may_try(name, now=now):
            waiting = tuple(box.waiting)
            box.sending = self._pool.submit(
                deliver, waiting, [box.sink], self._sent, now=now, last=last
            )

    def _take_in(self, box: _Box) -> None:
        if box.sending is None or not box.sending.done():
            return
        outcome = box.sending.result()
        box.sending = None
        name = box.sink.name
        box.waiting = [alert for alert in box.waiting if self._sent.wants(name, alert)]
        trouble = outcome.failed.get(name, "")
        if trouble and trouble != box.trouble:
            self._say(f"alerts: {name} does not take them, tried again later: {trouble}")
        if box.trouble and not trouble:
            self._say(f"alerts: {name} takes them again")
        box.trouble = trouble
        if given_up := outcome.given_up.get(name, 0):
            self._say(f"alerts: {name} has taken nothing for a day: {given_up} given up")


def run(home: Home, sinks: Sequence[Sink], *, starter: int) -> None:
    """Notify until told to end by a signal, or by the end of the starter. Raises BadStore."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    notifier = Notifier(
        news=News(home.store).fresh,
        sinks=sinks,
        sent=SentLog(home.alerts_sent),
        pool=ThreadPoolExecutor(max_workers=max(1, len(sinks)), thread_name_prefix="sink"),
        clock=time.time,
        say=_say,
    )
    while not stop.wait(LOOK_EVERY) and os.getppid() == starter and home.root.is_dir():
        notifier.turn()
    notifier.finish(FLUSH_DEADLINE)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m campaign.notifier")
    parser.add_argument("--home", required=True)
    parser.add_argument("--starter", type=int, required=True, help="ends when this process does")
    parser.add_argument("--desktop", action="store_true")
    parser.add_argument("--url", action="append", default=[], help="env:NAME or file:PATH")
    options = parser.parse_args(argv)
    home = Home.locate(options.home)
    os.nice(_NICENESS)
    os.umask(0o077)
    with home.notifier_lock.open("ab") as lock:
        if not _held(lock):
            return ExitCode.WRONG_STATE
        try:
            sinks = sinks_of(home, desktop=options.desktop, urls=options.url)
            run(home, sinks, starter=options.starter)
        except BadStore as error:
            _say(f"alerts: {error}")
            return ExitCode.BUG
    return ExitCode.OK


def _held(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _say(text: str) -> None:
    """One line in the controller's log, which is this process's output."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    # not sys.exit: it would wait for a thread whose service does not answer
    code = main()
    sys.stdout.flush()
    os._exit(code)
