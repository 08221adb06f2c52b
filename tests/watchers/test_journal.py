from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from watchers.journal import Journal


def written(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in path.read_text().splitlines()]


def test_lines_reach_the_disk_in_order_with_one_fsync_a_flush(tmp_path: Path) -> None:
    path, synced = tmp_path / "watch.jsonl", []
    journal = Journal(path, fsync=lambda fd: synced.append(os.fstat(fd).st_size))
    journal.add({"key": "a"})
    journal.add({"key": "b"})
    assert not path.exists()
    journal.flush()
    journal.flush()
    assert written(path) == ["a", "b"]
    assert synced == [path.stat().st_size]


def test_a_key_is_known_from_the_file_and_never_written_again(tmp_path: Path) -> None:
    path = tmp_path / "watch.jsonl"
    first = Journal(path)
    first.add({"key": "a"})
    first.flush()
    second = Journal(path)
    assert second.keys == {"a"}
    with pytest.raises(ValueError, match="already has a line with the key 'a'"):
        second.add({"key": "a"})


@pytest.mark.parametrize("torn", [b'{"key": "b", "rea', b"\0\0\0", b"\xff"])
def test_a_torn_last_line_is_no_line_and_the_next_one_stands_alone(
    tmp_path: Path, torn: bytes
) -> None:
    path = tmp_path / "watch.jsonl"
    path.write_bytes(b'{"key": "a"}\n' + torn)
    journal = Journal(path)
    assert journal.keys == {"a"}
    journal.add({"key": "b"})
    journal.flush()
    assert Journal(path).keys == {"a", "b"}
    assert path.read_bytes().endswith(b'\n{"key": "b"}\n')


def test_after_an_error_a_new_journal_knows_what_did_get_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "watch.jsonl", os.write
    journal = Journal(path)
    journal.add({"key": "a"})
    journal.add({"key": "b"})
    room = [20]

    def full(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return write(fd, data[: room.pop()])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        journal.flush()
    monkeypatch.undo()
    assert Journal(path).keys == {"a"}
