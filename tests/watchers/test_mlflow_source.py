"""Reading after a durable position gives the lines that the watcher's tail gives, in whatever portions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.files import MetricLine, metric_line
from tests.watchers.tails import read_tail
from watchers.mlflow_source import read_points, unread_lines
from watchers.tail import START, Position, Tail, read_after

GOOD = b"".join(metric_line(float(s), s, {"a": s / 7, "b": float("nan")}) for s in range(1, 6))
UGLY = b"".join(
    [
        metric_line(1.0, 1, {"a": 0.5}),
        b"\n",
        b"\0" * 40 + metric_line(2.0, 2, {"a": 0.25}),
        b'{"t": 3, "step": 3, "m": {"a": 0.1\n',
        b'\xff\xfe{"t": 3}\n',
        b'{"t": 5, "step": true, "m": {}}\n',
        b'{"t": 6, "step": 6, "m": {"a": 1' + b"0" * 400 + b"}}\n",
        b'{"t": "NaN", "step": 7, "m": {"a": 1}}\n',
        b'{"t": 7, "step": -1, "m": {"a": 1}}\n',
        b'{"t": 7, "step": 9999999999999999999, "m": {"a": 1}}\r\n',
        metric_line(8.0, 8, {"a": 8.0}),
    ]
)


def read_all(
    path: Path, at: Position, chunk: int, points: int = 1000
) -> tuple[list[MetricLine], Position]:
    lines: list[MetricLine] = []
    more = True
    while more:
        read = read_after(path, at, chunk=chunk, points=points)
        lines += read.lines
        more = read.position != at
        at = read.position
    return lines, at


def as_text(lines: list[MetricLine]) -> list[str]:
    return [repr(line) for line in lines]  # NaN is not equal to itself


@settings(deadline=None)
@given(
    data=st.sampled_from([UGLY, GOOD]) | st.binary(max_size=300).map(lambda b: b + b"\n" + UGLY),
    cuts=st.lists(st.integers(0, len(UGLY) + 300), max_size=5),
    chunk=st.integers(500, 3000),
    points=st.integers(0, 20),
)
def test_it_reads_the_lines_that_the_tail_reads_wherever_the_file_is_cut(
    data: bytes, cuts: list[int], chunk: int, points: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "m"
        tail, at = Tail(path, chunk=chunk), START
        mine: list[MetricLine] = []
        theirs: list[MetricLine] = []
        for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
            path.write_bytes(data[:cut])
            found, at = read_all(path, at, chunk, points)
            mine += found
            theirs += read_tail(tail)
        assert as_text(mine) == as_text(theirs)
        assert at.offset == tail.offset


def test_a_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert read_after(tmp_path / "none", START).position == START
    assert unread_lines(tmp_path / "none", START) == 0


def test_a_torn_last_line_is_not_a_point_until_its_end_is_written(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD[:-7])
    lines, at = read_all(path, START, 1000)
    assert [line.step for line in lines] == [1, 2, 3, 4]
    path.write_bytes(GOOD)
    assert [line.step for line in read_all(path, at, 1000)[0]] == [5]


@pytest.mark.parametrize("other", [GOOD[:10], b"", GOOD[::-1] + b"\n" + GOOD, GOOD[1:] + GOOD])
def test_a_file_with_other_bytes_before_the_position_is_read_from_its_start(
    tmp_path: Path, other: bytes
) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD)
    _, at = read_all(path, START, 1000)
    path.write_bytes(other)
    read = read_after(path, at)
    assert read.restarted
    assert as_text(list(read.lines)) == as_text(read_tail(Tail(path)))


def test_a_line_longer_than_a_chunk_is_passed_over_once(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD + b"x" * 5000 + b"\n" + GOOD)
    at, bad, steps = START, 0, []
    while (read := read_after(path, at, chunk=600)).position != at:
        bad, at = bad + read.bad_lines, read.position
        steps += [line.step for line in read.lines]
    assert (bad, steps) == (1, [1, 2, 3, 4, 5] * 2)


def test_a_read_has_no_more_points_than_one_request_but_at_least_a_line(tmp_path: Path) -> None:
    path = tmp_path / "m"
    sizes = [400, 400, 400, 1500, 1, 999, 1]
    lines = [
        metric_line(1.0, s, {f"k{n}": 1.0 for n in range(size)}) for s, size in enumerate(sizes)
    ]
    path.write_bytes(b"".join(lines))
    at, reads = START, []
    while (read := read_points(path, at)).position != at:
        at = read.position
        reads.append([len(line.metrics) for line in read.lines])
    assert reads == [[400, 400], [400], [1500], [1, 999], [1]]


def test_unread_lines_are_the_complete_ones_after_the_position(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(GOOD)
    _, at = read_all(path, START, 1000)
    path.write_bytes(GOOD + GOOD[:-3])
    assert unread_lines(path, START) == 9
    assert unread_lines(path, at) == 4
