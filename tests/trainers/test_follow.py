from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from specs.pattern import compile_pattern
from trainers.follow import LONGEST, LineReader, LogFollower

Found = list[tuple[int, dict[str, float]]]


@pytest.fixture
def reading() -> Callable[..., tuple[LineReader, Found, list[str]]]:
    def make(pattern: str) -> tuple[LineReader, Found, list[str]]:
        found: Found = []
        notes: list[str] = []
        emit = lambda step, metrics: found.append((step, dict(metrics)))  # noqa: E731
        return LineReader(compile_pattern(pattern), emit=emit, note=notes.append), found, notes

    return make


PAIRS = r"(?P<key>[a-z/]+)=(?P<value>[-+.\w]+)"
STEPPED = r"step (?P<step>\d+).* ce (?P<val__ce>\S+)"


@pytest.mark.parametrize(
    ("pattern", "lines", "expected"),
    [
        (r"loss (?P<loss>\S+)", ["loss 2.5", "nothing", "loss 1e-3"],
         [(1, {"loss": 2.5}), (2, {"loss": 1e-3})]),
        (STEPPED, ["at step 100 ce 2.5", "step 200: ce .5"],
         [(100, {"val/ce": 2.5}), (200, {"val/ce": 0.5})]),
        (PAIRS, ["loss=2 val/acc=0.5"], [(1, {"loss": 2.0, "val/acc": 0.5})]),
        (r"step (?P<step>\d+)|" + PAIRS, ["step 7", "loss=2", "loss=1", "step 8 loss=0.5"],
         [(7, {"loss": 2.0}), (7, {"loss": 1.0}), (8, {"loss": 0.5})]),
        (r"ce (?P<ce>\S+)( acc (?P<acc>\S+))?", ["ce 1", "ce 2 acc 3"],
         [(1, {"ce": 1.0}), (2, {"ce": 2.0, "acc": 3.0})]),
        (r"ce (?P<ce>\S+)", ["ce nan", "ce -inf"], [(1, {"ce": float("nan")}), (2, {"ce": float("-inf")})]),
    ],
)  # fmt: skip
def test_lines_become_metrics(
    reading: Any, pattern: str, lines: list[str], expected: Found
) -> None:
    reader, found, notes = reading(pattern)
    for line in lines:
        reader.take(line.encode())
    assert repr(found) == repr(expected)
    assert notes == []


@pytest.mark.parametrize(
    ("pattern", "line", "said"),
    [
        (r"loss (?P<loss>\S+)", "loss high", "loss = 'high', which is no number"),
        (r"(?P<step>\S+) loss (?P<loss>\d)", "x7 loss 2", "step 'x7', which is no step"),
        (r"(?P<step>\S+) loss (?P<loss>\d)", "-7 loss 2", "step '-7', which is no step"),
        (r"(?P<step>\S+) loss (?P<loss>\d)", f"{10**30} loss 2", "which is no step"),
    ],
)
def test_what_is_no_number_is_said_and_passed_over(
    reading: Any, pattern: str, line: str, said: str
) -> None:
    reader, found, notes = reading(pattern)
    reader.take(line.encode())
    reader.take(line.encode())
    assert len(notes) == 1
    assert said in notes[0]
    assert all(step == 0 for step, _ in found)


def test_bytes_that_are_no_text_do_not_stop_the_reading(reading: Any) -> None:
    reader, found, _ = reading(r"loss (?P<loss>\S+)")
    reader.take(b"\xff\xfe loss 3 \x00")
    assert found == [(1, {"loss": 3.0})]


def test_a_line_without_end_is_matched_at_its_beginning_only(reading: Any) -> None:
    reader, found, _ = reading(r"a+ loss (?P<loss>\d)")
    reader.take(b"a loss 1 " + b"a" * 10 * LONGEST + b" loss 2")
    assert found == [(1, {"loss": 1.0})]


# ---------------------------------------------------------------- the file


class Log:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.follower = LogFollower(path, self.size(), self.lines.append)

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = tmp_path / "log.txt"
    path.write_bytes(b"of an earlier life\nloss 9")
    return Log(path)


TEXT = "step 1 loss 2\r50%\r100%\n\nü step 2 loss 1\nthe last has no end".encode()


def test_each_line_comes_once_wherever_the_reads_cut_it(tmp_path: Path) -> None:
    expected = [line.encode() for line in ("step 1 loss 2", "50%", "100%", "ü step 2 loss 1", "the last has no end")]  # fmt: skip
    for cut in range(len(TEXT) + 1):
        log = Log(tmp_path / str(cut))
        log.write(TEXT[:cut])
        log.follower.read()
        log.write(TEXT[cut:])
        log.follower.read()
        log.follower.close()
        assert [line for line in log.lines if line] == expected


def test_what_was_in_the_log_before_is_not_read(log: Log) -> None:
    log.write(b"new\n")
    log.follower.close()
    assert log.lines == [b"new"]


def test_the_last_line_waits_for_its_end_or_for_the_close(log: Log) -> None:
    log.write(b"loss ")
    log.follower.read()
    assert log.lines == []
    log.write(b"2")
    log.follower.read()
    assert log.lines == []
    log.follower.close()
    assert log.lines == [b"loss 2"]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    log = Log(tmp_path / "none")
    log.follower.read()
    log.follower.close()
    assert log.lines == []


def test_a_megabyte_without_an_end_is_not_kept(log: Log) -> None:
    log.write(b"x" * (5 << 20) + b"\nnext\n")
    log.follower.close()
    assert len(log.lines[0]) < 2 << 20
    assert log.lines[1:] == [b"next"]


def test_a_running_follower_reads_by_itself(log: Log) -> None:
    import threading

    seen = threading.Event()
    follower = LogFollower(log.path, log.size(), lambda line: seen.set(), every=0.001)
    follower.start()
    log.write(b"loss 1\n")
    assert seen.wait(20.0)
    follower.close()
