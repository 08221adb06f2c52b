"""Secrets by reference: ``env:NAME`` or ``file:PATH``. The secret itself is in no message of ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_LONGEST = 8192


class BadReference(ValueError):
    """A secret cannot be had; the message says what to do, and never shows what was given as it."""


def check_reference(reference: str) -> str:
    """``reference`` if it has one of the two forms. Raises BadReference without repeating it: what
    stands in its place may be the secret itself."""
    kind, separator, name = reference.partition(":")
    if separator and name and kind in ("env", "file") and not name.startswith("//"):
        return reference
    raise BadReference(
        "an alert target is given as env:NAME (a variable that holds its URL) or file:PATH (a file "
        "of mode 0600 that holds it), never as the URL itself, which is a password"
    )


def resolve(reference: str) -> str:
    """The secret behind a reference. Raises BadReference."""
    kind, _, name = check_reference(reference).partition(":")
    return _from_environment(name) if kind == "env" else _from_file(Path(name).expanduser())


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise BadReference(f"the environment variable {name} is not set where alerts are sent from")
    return value


def _from_file(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BadReference(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BadReference(f"{path} is no regular file")
        if status.st_uid != os.getuid():
            raise BadReference(f"{path} belongs to another user")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise BadReference(f"{path} has mode {mode:04o}: others may read it; chmod 600 {path}")
        try:
            value = file.read(_LONGEST).decode().strip()
        except UnicodeDecodeError:
            raise BadReference(f"{path} is not UTF-8 text") from None
    if not value or "\n" in value:
        raise BadReference(f"{path} must hold one line, the URL")
    return value
