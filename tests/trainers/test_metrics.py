from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from specs.files import MetricLine, complete_lines, metric_line, parse_metric_line
from trainers.metrics import MetricsStuck, MetricWriter

PATIENT = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def read(path: Path) -> list[MetricLine | None]:
    return [parse_metric_line(line) for line in complete_lines(path.read_bytes())]


def steps(path: Path) -> list[int]:
    return [line.step for line in read(path) if line is not None]


def test_every_line_is_there_in_order_after_close(path: Path) -> None:
    times = iter(range(10_000))
    writer = MetricWriter(path, wall=lambda: float(next(times)))
    for step in range(1, 501):
        writer.emit(step, {"train/ce": 1 / step})
    writer.close()
    lines = read(path)
    assert [line.step for line in lines if line] == list(range(1, 501))
    assert [line.t for line in lines if line] == [float(t) for t in range(500)]
    assert lines[3] is not None
    assert lines[3].metrics == {"train/ce": 0.25}


def test_flush_returns_when_the_lines_are_in_the_file(path: Path) -> None:
    writer = MetricWriter(path)
    writer.emit(1, {"a": 1.0})
    writer.flush()
    assert steps(path) == [1]
    writer.emit(2, {"a": 1.0})
    writer.flush()
    assert steps(path) == [1, 2]
    writer.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_written(path: Path, value: float) -> None:
    writer = MetricWriter(path)
    writer.emit(3, {"train/ce": value})
    writer.close()
    (line,) = read(path)
    assert line is not None
    assert repr(line.metrics["train/ce"]) == repr(value)


def test_no_metrics_make_no_line(path: Path) -> None:
    writer = MetricWriter(path)
    writer.emit(1, {})
    writer.emit_now({})
    writer.close()
    assert path.read_bytes() == b""


def test_metrics_of_no_step_go_under_the_step_that_is_done(path: Path) -> None:
    writer = MetricWriter(path)
    writer.reach(7)
    writer.emit_now({"system/rss_mib": 1.0})
    writer.emit(9, {"train/ce": 1.0})
    writer.emit_now({"system/rss_mib": 2.0})
    writer.close()
    assert steps(path) == [7, 9, 9]


def test_steps_never_go_back_though_two_threads_write(path: Path) -> None:
    writer = MetricWriter(path)
    done = threading.Event()

    def sample() -> None:
        while not done.is_set():
            writer.emit_now({"system/threads": 1.0})

    sampler = threading.Thread(target=sample)
    sampler.start()
    for step in range(1, 2001):
        writer.emit(step, {"train/ce": 1.0})
    done.set()
    sampler.join()
    writer.close()
    found = steps(path)
    assert found == sorted(found)
    assert set(range(1, 2001)) <= set(found)


def test_training_goes_on_while_the_disk_stands_still_and_no_line_is_lost(
    path: Path, monkeypatch: Any
) -> None:
    still, asked = threading.Event(), threading.Event()
    write = os.write

    def wait_then_write(fd: int, data: bytes) -> int:
        asked.set()
        assert still.wait(PATIENT)
        return write(fd, data)

    monkeypatch.setattr(os, "write", wait_then_write)
    writer = MetricWriter(path)
    for step in range(1, 1001):
        writer.emit(step, {"train/ce": 1.0})  # returns although nothing can be written
    assert asked.wait(PATIENT)
    with pytest.raises(MetricsStuck):
        writer.flush(patience=0.01)
    with pytest.raises(MetricsStuck):
        writer.close(patience=0.01)
    still.set()
    writer.close()
    assert steps(path) == list(range(1, 1001))


def failing(write: Callable[[int, bytes], int], times: int, part: int) -> Any:
    """The disk takes ``part`` bytes and is then full for ``times`` tries."""
    left = [part, times]

    def attempt(fd: int, data: bytes) -> int:
        if left[0]:
            taken, left[0] = write(fd, bytes(data[: left[0]])), 0
            return taken
        if left[1]:
            left[1] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    return attempt


@pytest.mark.parametrize("part", [0, 1, 5, 40, 70])
def test_a_full_disk_tears_and_doubles_no_line(
    path: Path, monkeypatch: Any, capfd: Any, part: int
) -> None:
    monkeypatch.setattr("trainers.metrics._RETRY", 0.001)
    monkeypatch.setattr(os, "write", failing(os.write, 3, part))
    writer = MetricWriter(path, wall=lambda: 5.0)
    for step in (1, 2, 3):
        writer.emit(step, {"train/ce": 1.0})
    writer.close()
    monkeypatch.undo()
    expected = b"".join(metric_line(5.0, step, {"train/ce": 1.0}) for step in (1, 2, 3))
    assert path.read_bytes() == expected
    assert capfd.readouterr().err.count("No space left") == 1  # said once, not at every try


def test_a_line_stands_alone_behind_a_torn_one_wherever_it_was_torn(tmp_path: Path) -> None:
    whole = b"".join(metric_line(1.0, step, {"val/ce": 2.5}) for step in (1, 2))
    for cut in range(len(whole) + 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        before = list(complete_lines(whole[:cut]))
        writer = MetricWriter(path)
        writer.emit(3, {"val/ce": 2.0})
        writer.close()
        lines = list(complete_lines(path.read_bytes()))
        assert lines[: len(before)] == before
        last = parse_metric_line(lines[-1])
        assert last is not None
        assert last.step == 3
        assert path.read_bytes().endswith(b"\n")


def test_lines_wait_while_the_file_must_not_be_written_and_are_there_at_the_end(path: Path) -> None:
    asked = threading.Event()

    def never() -> bool:
        asked.set()
        return False

    writer = MetricWriter(path, may_write=never)
    writer.emit(1, {"system/threads": 1.0})
    assert asked.wait(PATIENT)
    with path.open("ab") as program:
        program.write(metric_line(1.0, 2, {"loss": 1.0}))
    writer.close()
    assert steps(path) == [2, 1]


def test_a_mapping_that_changes_later_does_not_change_the_line(path: Path) -> None:
    writer = MetricWriter(path)
    metrics = {"a": 1.0}
    writer.emit(1, metrics)
    metrics["a"] = 2.0
    writer.close()
    (line,) = read(path)
    assert line is not None
    assert line.metrics == {"a": 1.0}


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    MetricWriter(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
