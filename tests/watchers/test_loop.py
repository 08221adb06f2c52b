"""The real loop, with real clocks and a real file."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from specs.files import metric_line
from watchers.watcher import Watcher, run_forever


@pytest.fixture
def running() -> Any:
    """Starts loops and ends them with the test."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(watcher: Watcher, wanted: Any) -> None:
        thread = threading.Thread(target=run_forever, args=(watcher, stop, wanted), daemon=True)
        threads.append(thread)
        thread.start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_the_killer_is_called_after_the_line_that_completes_the_row(
    tmp_path: Path, build: Any, running: Any, record_property: Any
) -> None:
    attempt = build.Attempt(root=tmp_path / "a")
    killed, when = threading.Event(), []

    def killer(directory: Path, **order: Any) -> None:
        when.append(time.time())
        killed.set()

    running(Watcher(killer), lambda: [attempt.root])
    for step, value in enumerate([2.0, 3.0, 3.0]):
        attempt.write(metric_line(time.time(), step, {"val/ce": value}))
        flushed = time.time()
    assert killed.wait(30)
    record_property("line_to_killer_s", when[0] - flushed)
    [verdict] = attempt.of("verdict")
    assert 0 <= verdict["latency_s"] <= when[0] - flushed + 1
    assert verdict["t"] <= when[0]


def test_a_failing_list_of_attempts_leaves_the_known_ones_watched(
    tmp_path: Path, build: Any, running: Any
) -> None:
    attempt = build.Attempt(root=tmp_path / "a")
    answers = [[attempt.root]]
    asked_in_vain, killed = threading.Event(), threading.Event()

    def wanted() -> list[Path]:
        if not answers:
            asked_in_vain.set()
            raise ConnectionError("the controller is gone")
        return answers.pop()

    running(Watcher(lambda directory, **order: killed.set()), wanted)
    assert asked_in_vain.wait(30)
    for step, value in enumerate([2.0, 3.0, 3.0]):
        attempt.log(step, {"val/ce": value})
    assert killed.wait(30)
