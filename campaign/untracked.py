"""Which untracked files belong to the code of a campaign, and whose content may be taken: no secret,
nothing that campaign wrote, nothing large."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

FILE_LIMIT = 256 << 10
ALL_FILES_LIMIT = 2 << 20
"""Bytes whose content is taken: of one file, of all together."""

MOST_NAMES = 1000

SECRET_NAMES = (
    ".env*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_dsa*", "id_ecdsa*",
    "id_ed25519*", ".netrc", ".npmrc", ".pypirc", ".htpasswd", "*.token", "*credential*",
    "*secret*", "*password*",
)  # fmt: skip

_SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY"
    rb"|\bhf_[A-Za-z0-9]{30}"
    rb"|\bsk-[A-Za-z0-9_-]{20}"
    rb"|\bgh[pousr]_[A-Za-z0-9]{30}"
    rb"|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{10}"
    rb"|hooks\.slack\.com/services/|/api/webhooks/"
)
"""Forms of keys and of addresses that are passwords."""

_STORE = "campaign.db"


def not_in_homes(names: Sequence[str], root: Path, home: Path) -> list[str]:
    """Without what campaign itself wrote there: ``home``, and every folder with a store."""
    homes = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name == _STORE}
    if home.is_relative_to(root):
        homes.add(PurePosixPath(home.relative_to(root).as_posix()))
    homes.discard(PurePosixPath("."))  # a home at the top would hide everything
    return [n for n in names if not any(PurePosixPath(n).is_relative_to(h) for h in homes)]


def left_out(root: Path, names: Iterable[str], private: Collection[Path]) -> dict[str, str]:
    """Why the content of a file is not taken, for those of which it is not.

    ``private``: files that are known to hold secrets.
    """
    known = {path.resolve() for path in private}
    found: dict[str, str] = {}
    total = 0
    for number, name in enumerate(names):
        path = root / name
        why, size = _refusal(path, known)
        if not why and (total + size > ALL_FILES_LIMIT or number >= MOST_NAMES):
            why = f"beyond the first {ALL_FILES_LIMIT} bytes or {MOST_NAMES} files"
        if why:
            found[name] = why
        else:
            total += size
    return found


def _refusal(path: Path, private: Collection[Path]) -> tuple[str, int]:
    """(why it is not taken or nothing, its bytes)"""
    try:
        status = path.lstat()
    except OSError as error:
        return f"cannot be read: {error.strerror}", 0
    size = status.st_size
    if stat.S_ISDIR(status.st_mode):
        return "a repository of its own", size
    if path.resolve() in private:
        return "the configuration says that it holds a secret", size
    if any(fnmatch(path.name.lower(), secret) for secret in SECRET_NAMES):
        return "its name is that of a secret", size
    if size > FILE_LIMIT:
        return f"{size} bytes, more than {FILE_LIMIT}", size
    if stat.S_ISLNK(status.st_mode):
        return "", size  # git takes where it points to, not what is there
    try:
        holds = _SECRET.search(path.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}", size
    return ("it holds what looks like a key" if holds else ""), size
