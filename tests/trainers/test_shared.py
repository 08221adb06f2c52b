from __future__ import annotations

import os
from pathlib import Path

import pytest

from specs.files import metric_line
from trainers.shared import SharedFile, ends_whole, last_step, someone_overwrites


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


@pytest.mark.parametrize(
    ("content", "whole"),
    [(None, True), (b"", True), (b"{}\n", True), (b'{"t": 1', False), (b"{}\n{", False)],
)
def test_a_line_of_ours_waits_for_the_end_of_the_programs(
    path: Path, content: bytes | None, whole: bool
) -> None:
    if content is not None:
        path.write_bytes(content)
    assert ends_whole(path) == whole
    assert SharedFile(path, writers=lambda p: False).may_append() == whole


@pytest.mark.parametrize(
    ("flags", "overwrites"),
    [
        (os.O_RDONLY, False),
        (os.O_WRONLY | os.O_APPEND, False),
        (os.O_RDWR | os.O_APPEND, False),
        (os.O_WRONLY, True),
        (os.O_RDWR, True),
        (os.O_WRONLY | os.O_TRUNC, True),
    ],
)
def test_whoever_writes_at_a_place_of_its_own_is_noticed(
    path: Path, flags: int, overwrites: bool
) -> None:
    path.write_bytes(b"{}\n")
    assert not someone_overwrites(path)
    fd = os.open(path, flags)
    try:
        assert someone_overwrites(path) == overwrites
    finally:
        os.close(fd)
    assert not someone_overwrites(path)


def test_the_system_is_not_asked_at_every_line(path: Path) -> None:
    now, answers = [0.0], iter([True, False])
    shared = SharedFile(path, every=1.0, monotonic=lambda: now[0], writers=lambda p: next(answers))
    assert not shared.may_append()
    now[0] = 0.9
    assert not shared.may_append()
    now[0] = 1.0
    assert shared.may_append()


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (None, 0),
        (b"", 0),
        (metric_line(1.0, 5, {"a": 1.0}), 5),
        (metric_line(1.0, 5, {"a": 1.0}) + metric_line(1.0, 6, {"a": 1.0}), 6),
        (metric_line(1.0, 5, {"a": 1.0}) + b"no metrics\n", 5),
        (metric_line(1.0, 5, {"a": 1.0}) + b'{"t": 1.0, "step": 6', 5),
        (metric_line(1.0, 4, {"a": 1.0}) + b"x" * (1 << 17) + b"\n" + metric_line(1.0, 5, {"a": 1.0}), 5),
    ],
)  # fmt: skip
def test_the_step_is_that_of_the_newest_line(path: Path, content: bytes | None, step: int) -> None:
    if content is not None:
        path.write_bytes(content)
    assert last_step(path) == step
