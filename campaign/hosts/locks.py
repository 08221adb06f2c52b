"""Kernel locks: of devices, inherited by everything that a trainer starts, and of an attempt.

A device is free when the last process that inherited its lock is dead, whoever that is. Standard
library only.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_TRIES = 10
_PAUSE = 0.05


class Held(Exception):
    """Somebody else has the lock."""


def take(path: Path) -> int:
    """An open descriptor that holds the lock of ``path``, made if missing. Raises Held at once."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise Held(str(path)) from error
        if _is(fd, path):
            return fd
        os.close(fd)  # the file was deleted between open and lock: this lock binds nobody


def _is(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def take_devices(locks: Mapping[str, str], *, holder: str) -> list[int]:
    """The locks of all devices, in the order of their names; Held names the first that is taken.

    An observer that looks whether a lock is free has it for microseconds: so each is tried for half a
    second. ``holder`` is written into the file for people.
    """
    taken: list[int] = []
    try:
        for device, path in sorted(locks.items()):
            taken.append(_take_patiently(device, Path(path)))
            os.ftruncate(taken[-1], 0)
            os.pwrite(taken[-1], holder.encode(), 0)
    except BaseException:
        for fd in taken:
            os.close(fd)
        raise
    return taken


def _take_patiently(device: str, path: Path) -> int:
    for left in reversed(range(_TRIES)):
        try:
            return take(path)
        except Held as error:
            if left == 0:
                raise Held(f"device {device} is held by another trainer{_who(path)}") from error
            time.sleep(_PAUSE)
    raise AssertionError("the last try returns or raises")


def _who(path: Path) -> str:
    try:
        last = path.read_text(errors="replace").strip()
    except OSError:  # a courtesy: the refusal does not depend on it
        return ""
    return f" ({last})" if last else ""


def keep_directory(path: Path) -> int:
    """A shared lock on the directory itself: systemd-tmpfiles spares a directory that is locked."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with suppress(BlockingIOError):  # it is being cleaned now, which spares a lock just taken
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return fd


@contextmanager
def holding(path: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock of ``path`` for a while. Raises Held where it is not free within ``patience`` seconds."""
    fd = _take_within(path, patience)
    try:
        yield
    finally:
        os.close(fd)


def _take_within(path: Path, patience: float) -> int:
    until = time.monotonic() + patience
    while True:
        try:
            return take(path)
        except Held:
            if time.monotonic() >= until:
                raise
        time.sleep(_PAUSE)  # the kernel has no lock with a deadline


def is_held(path: Path) -> bool:
    """Whether some process holds the lock of ``path``; a file that is not there is not held."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
