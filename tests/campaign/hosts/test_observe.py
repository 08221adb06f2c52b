from __future__ import annotations

import os
from pathlib import Path

import pytest

from campaign.hosts import observe
from campaign.hosts.observe import Observer
from campaign.hosts.port import Cursor
from specs.files import AttemptFiles, write_json


@pytest.fixture
def files(tmp_path: Path) -> AttemptFiles:
    return AttemptFiles(root=tmp_path)


def look(observer: Observer, files: AttemptFiles, **cursor: int):  # type: ignore[no-untyped-def]
    return observer.look(str(files.root), Cursor(**cursor))


def test_a_file_cut_at_any_byte_gives_its_whole_lines_and_no_line_twice(
    files: AttemptFiles,
) -> None:
    lines = [b'{"n": %d, "text": "\\u00e9"}\n' % n for n in range(4)]
    data, observer = b"".join(lines), Observer()
    for cut in range(len(data) + 1):
        files.events.write_bytes(data[:cut])
        first = look(observer, files)
        files.events.write_bytes(data)
        second = look(observer, files, events=first.cursor.events)
        assert [line["n"] for line in (*first.events, *second.events)] == [0, 1, 2, 3]


def test_a_file_that_was_replaced_by_a_shorter_one_is_read_from_its_start(
    files: AttemptFiles,
) -> None:
    files.events.write_bytes(b'{"n": 1}\n')
    assert [e["n"] for e in look(Observer(), files, events=1000).events] == [1]


def test_an_endless_line_does_not_hide_what_comes_after_it(
    files: AttemptFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "LARGEST_READ", 64)
    files.events.write_bytes(b'{"x": "' + b"y" * 500 + b'"}\n{"n": 1}\n')
    observer, cursor, seen = Observer(), 0, []
    for _ in range(20):
        found = look(observer, files, events=cursor)
        cursor = found.cursor.events
        seen += found.events
    assert seen == [{"n": 1}]


@pytest.mark.parametrize("line", [b"\x00" * 40, b"[1]", b"\xff\xfe", b"[" * 9000, b""])
def test_a_line_that_is_no_object_is_passed_over(files: AttemptFiles, line: bytes) -> None:
    files.watch.write_bytes(line + b'\n{"kind": "alert"}\n')
    assert look(Observer(), files).watch == ({"kind": "alert"},)


def checkpoint(files: AttemptFiles, step: int, text: str = "{}") -> Path:
    directory = files.checkpoint(step)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "manifest.json").write_text(text)
    return directory


def test_a_checkpoint_that_comes_within_the_tick_of_the_last_look_is_seen(
    files: AttemptFiles,
) -> None:
    """The time of change of a directory has ticks: two changes in one look like one."""
    observer = Observer()
    checkpoint(files, 1)
    tick = files.checkpoints.stat().st_mtime_ns
    assert [c.step for c in look(observer, files).checkpoints] == [1]
    checkpoint(files, 2)
    os.utime(files.checkpoints, ns=(tick, tick))
    assert [c.step for c in look(observer, files).checkpoints] == [1, 2]


def test_a_settled_directory_is_not_read_again(
    files: AttemptFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = Observer()
    checkpoint(files, 1)
    os.utime(files.checkpoints, (1000.0, 1000.0))
    first = look(observer, files).checkpoints
    monkeypatch.setattr(observe, "digest", None)  # whoever hashes now fails
    assert look(observer, files).checkpoints == first


def test_a_checkpoint_whose_manifest_comes_last_is_waited_for(files: AttemptFiles) -> None:
    observer = Observer()
    files.checkpoint(3).mkdir(parents=True)
    os.utime(files.checkpoints, (1000.0, 1000.0))
    assert look(observer, files).checkpoints == ()
    checkpoint(files, 3)
    os.utime(files.checkpoints, (1000.0, 1000.0))
    assert [c.step for c in look(observer, files).checkpoints] == [3]


def test_a_record_is_read_again_when_it_was_replaced(files: AttemptFiles) -> None:
    observer = Observer()
    for step in (1, 2):
        write_json(files.progress, {"step": step})
        assert look(observer, files).progress == {"step": step}


def test_a_record_that_becomes_readable_again_is_no_problem_any_more(files: AttemptFiles) -> None:
    observer = Observer()
    files.progress.write_text("{")
    assert look(observer, files).progress is None
    assert len(observer.problems) == 1
    write_json(files.progress, {"step": 1})
    look(observer, files)
    assert observer.problems == ()


def test_orders_that_were_only_refused_are_no_ladder(files: AttemptFiles) -> None:
    write_json(files.kill, {"order": None, "orders": [{"result": "refused"}]})
    assert look(Observer(), files).kill is None
