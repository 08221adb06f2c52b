from __future__ import annotations

import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.files import MetricLine, metric_line
from tests.watchers.tails import read_tail
from watchers.bad_line import why_not
from watchers.tail import CHUNK, START, Read, Tail

GOOD = b"".join(metric_line(float(s), s, {"a": s / 7, "b": float("nan")}) for s in range(1, 6))
UGLY = b"".join(
    [
        metric_line(1.0, 1, {"a": 0.5}),
        b"\n",
        b"\0" * 40 + metric_line(2.0, 2, {"a": 0.25}),
        b"\0\0\0\n",
        b'{"t": 3, "step": 3, "m": {"a": 0.1\n',  # torn, closed by a later writer
        b'\xff\xfe{"t": 3}\n',
        b'{"t": 4, "step": 4, "m": {"caf\xc3\xa9": 1}}\r\n',
        b'{"t": 5, "step": true, "m": {}}\n',
        b'{"t": 5, "step": 5, "m": {"a": "NaN"}}\n',
        b'{"t": 6, "step": 6, "m": {"a": 1' + b"0" * 400 + b"}}\n",
        b'{"t": "NaN", "step": 7, "m": {"a": 1}}\n',
        b'{"t": 7, "step": 9999999999999999999, "m": {"a": 1}}\n',
        b"[" * 3000 + b"\n",
        metric_line(8.0, 8, {"a": 8.0}),
    ]
)
UGLY_STEPS = [1, 2, 4, 5, 8]


def steps(lines: list[MetricLine]) -> list[int]:
    return [line.step for line in lines]


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    assert Tail(tmp_path / "metrics.jsonl").read() == Read(position=START)


def test_a_torn_last_line_is_not_a_point_until_its_end_is_written(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD[:-7])
    tail = Tail(path)
    assert steps(read_tail(tail)) == [1, 2, 3, 4]
    path.write_bytes(GOOD)
    assert steps(read_tail(tail)) == [5]


@pytest.mark.parametrize(("data", "expected"), [(GOOD, [1, 2, 3, 4, 5]), (UGLY, UGLY_STEPS)])
def test_cut_at_every_byte_no_complete_line_is_lost_and_none_comes_twice(
    tmp_path: Path, data: bytes, expected: list[int]
) -> None:
    path = tmp_path / "m"
    for cut in range(0, len(data) + 1, 1 if len(data) < 1000 else 3):
        path.write_bytes(data[:cut])
        tail = Tail(path)
        before = read_tail(tail)
        with path.open("ab") as file:
            file.write(data[cut:])
        assert steps(before + read_tail(tail)) == expected
        assert tail.offset == len(data)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(UGLY)), max_size=6), st.integers(700, 5000))
def test_the_lines_do_not_depend_on_how_the_file_grows_nor_on_the_chunk(
    cuts: list[int], chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "m"
        tail, lines, at = Tail(path, chunk=chunk), [], 0
        for cut in [*sorted(cuts), len(UGLY)]:
            with path.open("ab") as file:
                file.write(UGLY[at:cut])
            at = cut
            lines += read_tail(tail)
        assert steps(lines) == UGLY_STEPS


def test_complete_lines_that_are_no_metric_lines_are_reported_with_their_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD + b"loss: 3\n" + GOOD)
    batch = Tail(path).read()
    assert len(batch.lines) == 10
    assert [(b.offset, b.why) for b in batch.bad] == [(len(GOOD), why_not(b"loss: 3"))]


def test_a_line_of_ten_megabytes_is_passed_over_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with path.open("wb") as file:
        file.write(GOOD + b'{"t": 1, "step": 6, "m": {"')
        for _ in range(10):
            file.write(b"x" * (1 << 20))
        file.write(b'": 1}}\n' + metric_line(7.0, 7, {"a": 1.0}))
    tracemalloc.start()
    tail, lines, bad, more = Tail(path), [], [], True
    while more:
        batch = tail.read()
        lines, bad, more = lines + list(batch.lines), bad + list(batch.bad), batch.more
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert steps(lines) == [1, 2, 3, 4, 5, 7]
    assert [b.why for b in bad] == [f"longer than {CHUNK} bytes"]
    assert peak < 5 * CHUNK


@pytest.mark.parametrize("length", [CHUNK - 1, CHUNK])
def test_a_line_of_almost_the_longest_length_is_read_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "m"
    name = "x" * (length - len(metric_line(1.0, 1, {"": 1.0})))
    path.write_bytes(metric_line(1.0, 1, {name: 1.0}) + GOOD)
    assert steps(read_tail(Tail(path))) == [1, 1, 2, 3, 4, 5]


def replaced(path: Path, data: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(data)
    other.replace(path)


def test_a_file_that_was_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD)
    tail = Tail(path)
    read_tail(tail)
    replaced(path, UGLY)
    batch = tail.read()
    assert batch.restarted
    assert steps(list(batch.lines)) == UGLY_STEPS


def test_a_file_that_became_shorter_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(UGLY)
    tail = Tail(path)
    read_tail(tail)
    path.write_bytes(GOOD)
    assert tail.read().restarted


def test_a_file_rewritten_in_place_to_a_greater_length_is_read_from_its_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD)
    tail = Tail(path)
    read_tail(tail)
    path.write_bytes(UGLY)
    batch = tail.read()
    assert batch.restarted
    assert steps(list(batch.lines)) == UGLY_STEPS


def test_an_unchanged_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD + b"{torn")
    tail = Tail(path)
    assert len(read_tail(tail)) == 5
    before, opened = tail.read().position, list[object]()
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(a))
    assert tail.read() == Read(position=before)
    assert opened == []
