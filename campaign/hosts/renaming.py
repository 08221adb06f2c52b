"""A forked process takes on the cookie and the argument that an exec would have given it.

/proc/<pid>/environ and /proc/<pid>/cmdline show the memory in which the kernel laid out what the process
was started with. A fork shares it with its parent until one writes: so a shim writes its own cookie over
the placeholder of its parent, and can be found by it. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from specs.files import ENV_COOKIE

NO_COOKIE = "0" * 32
"""In place of a cookie: what a process carries that forks shims."""

_ARGUMENTS, _ENVIRONMENT = 47, 49
"""Positions of arg_start and env_start in /proc/<pid>/stat, counted from 0; the end follows each."""


def take_cookie(cookie: str) -> None:
    """Carry this cookie from now on. Raises ValueError where there is no room for it."""
    if len(cookie) != len(NO_COOKIE) or not cookie.isascii():
        raise ValueError(f"{cookie!r} is no cookie: it has to have {len(NO_COOKIE)} characters")
    _overwrite(_ENVIRONMENT, f"{ENV_COOKIE}={NO_COOKIE}", f"{ENV_COOKIE}={cookie}")
    os.environ[ENV_COOKIE] = cookie


def take_argument(placeholder: str, argument: str) -> None:
    """Show ``argument`` in place of a placeholder on the command line, cut where there is no room."""
    shown = os.fsencode(argument)[: len(placeholder)]
    _overwrite(_ARGUMENTS, placeholder, shown.ljust(len(placeholder), b"\0"))


def _overwrite(position: int, old: str, new: str | bytes) -> None:
    fields = Path("/proc/self/stat").read_bytes().rpartition(b") ")[2].split()
    start, end = (int(fields[position - 2 + offset]) for offset in (0, 1))
    before = old.encode()
    at = ctypes.string_at(start, end - start).find(before)
    if at < 0:
        raise ValueError(f"{old!r} is not in what this process was started with")
    ctypes.memmove(start + at, new if isinstance(new, bytes) else new.encode(), len(before))
