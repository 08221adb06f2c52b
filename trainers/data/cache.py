"""A cache of files that are costly to make: whole and unchanged, or made again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from specs.files import write_atomic

_DIGEST = 64


def cached(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes that ``make`` gives, from ``path`` if they are there as they were written.

    Several processes may do this at once: the last one's file stays, and all files are alike.
    """
    found = _read(path)
    if found is not None:
        return found
    data = make()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path, hashlib.sha256(data).hexdigest().encode() + data)
    return data


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    data = content[_DIGEST:]
    return data if content[:_DIGEST] == hashlib.sha256(data).hexdigest().encode() else None
