from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from campaign.hosts import locks
from campaign.hosts.locks import Held

HOLD = [sys.executable, "-I", "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"]


def test_a_lock_has_one_holder_and_is_free_again_with_him(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    assert not locks.is_held(path)
    assert not path.exists()  # looking makes no file
    with locks.holding(path):
        assert locks.is_held(path)
        with pytest.raises(Held):
            locks.take(path)
    assert not locks.is_held(path)


def test_a_lock_lives_as_long_as_the_last_process_that_inherited_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    fd = locks.take(path)
    heir = subprocess.Popen(HOLD, pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert heir.stdout is not None
    heir.stdout.readline()
    os.close(fd)
    assert locks.is_held(path)
    heir.communicate()
    assert not locks.is_held(path)


def test_where_one_device_is_held_none_is_kept(tmp_path: Path) -> None:
    paths = {name: str(tmp_path / name) for name in "abc"}
    with (
        locks.holding(tmp_path / "b"),
        pytest.raises(Held, match="device b is held by another trainer"),
    ):
        locks.take_devices(paths, holder="me")
    assert not any(locks.is_held(tmp_path / name) for name in "abc")


def test_who_is_refused_learns_who_has_the_device(tmp_path: Path) -> None:
    paths = {"a": str(tmp_path / "a")}
    [fd] = locks.take_devices(paths, holder="a long name of an earlier holder")
    os.close(fd)
    [fd] = locks.take_devices(paths, holder="shim 12")
    with pytest.raises(Held, match=r"\(shim 12\)"):
        locks.take_devices(paths, holder="me")
    os.close(fd)


def test_a_passing_look_at_a_lock_does_not_refuse_anybody(tmp_path: Path) -> None:
    """An observer holds the lock for a moment; taking a device outlasts that."""
    path = tmp_path / "a"
    held, refused = locks.take(path), []

    def take() -> None:
        try:
            locks.take_devices({"a": str(path)}, holder="me")
        except Held as error:
            refused.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    os.close(held)
    thread.join()
    assert refused == []


def test_a_lock_on_a_deleted_file_binds_nobody_and_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "a", []
    real = os.open

    def open_and_lose(name: Path, *rest: int) -> int:
        fd = real(name, *rest)
        if not opened:
            path.unlink()  # somebody cleans up between our open and our lock
        opened.append(fd)
        return fd

    monkeypatch.setattr(os, "open", open_and_lose)
    locks.take(path)
    assert len(opened) == 2
    assert os.path.samestat(os.fstat(opened[1]), path.stat())
