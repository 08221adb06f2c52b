"""Laws of the notifier: every sink gets everything once, and none waits for another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from campaign.home import Home
from campaign.notifier import NEWCOMER_HEARS, Notifier
from campaign.notifying import PAUSES, NotifierProcess
from campaign.records import Alert as Record
from campaign.store import Store
from tests.support.hosts import until
from watchers.alerts import Alert, SentLog, Sink, SinkFailed


class Here(Executor):
    """Runs what it is given at once, in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class Listener:
    def __init__(self, name: str, limit: int | None = 10) -> None:
        self.name, self.limit = name, limit
        self.heard: list[str] = []
        self.broken = False

    def send(self, alert: Alert) -> None:
        if self.broken:
            raise SinkFailed(f"{self.name} is out")
        self.heard.append(alert.key)


class Slow(Listener):
    """Does not come back before it is let go."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.go = threading.Event()

    def send(self, alert: Alert) -> None:
        assert self.go.wait(20)
        super().send(alert)


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 10_000.0
        self.news: list[Alert] = []
        self.said: list[str] = []

    def alert(self, *keys: str, t: float | None = None) -> None:
        at = self.now if t is None else t
        self.news += [Alert(key=key, t=at, title=key, text="text") for key in keys]

    def notifier(self, *sinks: Sink, pool: Executor | None = None) -> Notifier:
        return Notifier(
            news=self._take,
            sinks=sinks,
            sent=SentLog(self.path),
            pool=pool or Here(),
            clock=lambda: self.now,
            say=self.said.append,
        )

    def _take(self) -> Sequence[Alert]:
        fresh, self.news = self.news, []
        return fresh


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "sent.jsonl")


def test_every_sink_gets_what_is_new_and_after_a_restart_only_what_is_missing(bench: Bench) -> None:
    one, other = Listener("one"), Listener("other")
    bench.alert("a", "b")
    bench.notifier(one, other).turn()
    bench.alert("a", "b", "c")  # a new notifier reads the whole store
    bench.notifier(one, other).turn()
    assert one.heard == other.heard == ["a", "b", "c"]


def test_a_log_gets_the_history_and_a_new_service_the_last_hour(bench: Bench) -> None:
    log, service = Listener("log", limit=None), Listener("service")
    bench.alert("old", t=bench.now - NEWCOMER_HEARS - 1)
    bench.alert("young", t=bench.now - NEWCOMER_HEARS + 1)
    bench.notifier(log, service).turn()
    assert (log.heard, service.heard) == (["old", "young"], ["young"])


def test_a_service_that_hangs_keeps_nothing_from_the_others(bench: Bench) -> None:
    slow, log = Slow("slow"), Listener("log")
    with ThreadPoolExecutor(2) as pool:
        notifier = bench.notifier(slow, log, pool=pool)
        for heard in (["a"], ["a", "b"]):
            bench.alert(heard[-1])
            _turned_until(notifier, lambda: log.heard, heard)
        assert slow.heard == []
        slow.go.set()
        _turned_until(notifier, lambda: slow.heard, ["a", "b"])


def _turned_until(notifier: Notifier, look: Callable[[], list[str]], wanted: list[str]) -> None:
    def there() -> bool:
        notifier.turn()
        return look() == wanted

    until(there, f"{wanted} was told")


def test_a_sink_that_fails_is_said_once_tried_later_and_gets_what_it_missed(bench: Bench) -> None:
    sink = Listener("desk")
    sink.broken = True
    notifier = bench.notifier(sink)
    bench.alert("a")
    for _ in range(100):
        notifier.turn()
        bench.now += 1
    assert bench.said == ["alerts: desk does not take them, tried again later: desk is out"]
    sink.broken = False
    bench.alert("b")
    bench.now += 600
    notifier.turn()
    notifier.turn()
    assert sink.heard == ["a", "b"]
    assert bench.said[1:] == ["alerts: desk takes them again"]


def test_at_the_end_what_waits_goes_as_one_digest_beyond_the_limit(bench: Bench) -> None:
    sink = Listener("desk", limit=2)
    notifier = bench.notifier(sink)
    bench.alert("a", "b")
    notifier.turn()
    bench.alert("c", "d", "e")
    notifier.turn()
    assert sink.heard == ["a", "b"]
    notifier.finish(20.0)
    assert sink.heard == ["a", "b", "digest:c"]


# ---------------------------------------------------------------- the process


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(root=tmp_path / "runs")
    home.create()
    Store(home.store).close()
    return home


@pytest.fixture
def keeper(home: Home) -> Iterator[tuple[NotifierProcess, Clock]]:
    clock = Clock()
    keeper = NotifierProcess(home, desktop=False, urls=[], clock=clock)
    yield keeper, clock
    keeper.close()


def raise_alerts(home: Home, *keys: str) -> None:
    store = Store(home.store)
    records = [
        Record(
            campaign="c", run="r", attempt=1, key=key, at=1.0, rule="x", action="kill", reason=key
        )
        for key in keys
    ]
    store.commit(records, (), 1.0, kind="test")
    store.close()


def told(home: Home) -> list[str]:
    lines = home.alerts_log.read_text().splitlines() if home.alerts_log.exists() else []
    return [line.rpartition(": ")[2] for line in lines]


@pytest.mark.heavy
def test_a_notifier_that_is_killed_is_replaced_and_each_alert_told(
    home: Home, keeper: tuple[NotifierProcess, Clock]
) -> None:
    kept, clock = keeper
    keys = [f"k{number}" for number in range(200)]
    raise_alerts(home, *keys[:100])
    kept.tend()
    first = kept.pid
    assert first is not None
    until(lambda: len(told(home)) > 5, "some are told")
    os.kill(first, signal.SIGKILL)  # a child that is not reaped yet: nobody else has this pid
    raise_alerts(home, *keys[100:])

    def replaced() -> bool:
        clock.now += PAUSES[-1]
        kept.tend()
        return kept.pid not in (None, first)

    until(replaced, "another one runs")
    until(lambda: set(told(home)) == set(keys), "all are told")
    kept.close()
    # at least once; twice only what was sent and not yet noted when it was killed
    assert len(told(home)) <= len(keys) + 1


@pytest.mark.heavy
def test_what_is_committed_last_is_told_before_the_notifier_ends(
    home: Home, keeper: tuple[NotifierProcess, Clock]
) -> None:
    kept, _ = keeper
    raise_alerts(home, "first")
    kept.tend()
    until(lambda: told(home), "it is up")
    raise_alerts(home, "last")
    kept.close()
    assert told(home) == ["first", "last"]


@pytest.mark.heavy
def test_a_notifier_ends_with_the_process_that_started_it_and_there_is_never_a_second(
    home: Home,
) -> None:
    argv = [sys.executable, "-P", "-m", "campaign.notifier", "--home", str(home.root)]
    raise_alerts(home, "a")
    one = subprocess.Popen([*argv, "--starter", str(os.getpid())])
    until(lambda: told(home), "it is up")
    second = subprocess.run([*argv, "--starter", str(os.getpid())], check=False, timeout=30)
    assert second.returncode == 5
    one.terminate()
    assert one.wait(20) == 0
    of_a_dead_one = subprocess.run([*argv, "--starter", "1"], check=False, timeout=30)
    assert of_a_dead_one.returncode == 0
    assert told(home) == ["a"]
