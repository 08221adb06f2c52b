"""The host-local directory of a user: device locks and sockets.

GPU locks are shared by all homes of the user, so every process of that user must find the same
directory, and it must outlive a login. $XDG_RUNTIME_DIR is therefore taken only where it does: the
directory that logind makes (/run/user/<uid>) is deleted at the last log-out unless the user lingers,
and with it the locks of trainers that go on through the night. Else it is /tmp/campaign-<uid>.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from campaign.errors import CampaignError, ExitCode

LONGEST_SOCKET = 107
"""Bytes that a name of AF_UNIX may have."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LINGER = Path("/var/lib/systemd/linger")


class BadRuntimeDir(CampaignError):
    """The host-local directory cannot be trusted: it is another user's, a link, or open to others."""

    exit_code = ExitCode.USAGE


def choose(environment: Mapping[str, str], *, uid: int, lingers: bool) -> Path:
    """Which directory it is. Pure."""
    logind = f"/run/user/{uid}"
    given = environment.get("XDG_RUNTIME_DIR", "").rstrip("/")
    if given.startswith("/") and given != logind:
        return Path(given) / "campaign"
    if lingers:
        return Path(logind) / "campaign"
    return Path(f"/tmp/campaign-{uid}")


def directory() -> Path:
    """The directory of this user on this host, made if it is missing. Raises BadRuntimeDir."""
    uid = os.getuid()
    return checked(choose(os.environ, uid=uid, lingers=_lingers(uid)))


def _lingers(uid: int) -> bool:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container without an entry for this user
        return False
    return (_LINGER / name).exists() and Path(f"/run/user/{uid}").is_dir()


def checked(path: Path) -> Path:
    """``path`` as a directory that only this user can open. Raises BadRuntimeDir."""
    try:
        with suppress(FileExistsError):  # checked below like a fresh one
            path.mkdir(mode=0o700)
    except OSError as error:
        raise BadRuntimeDir(
            f"{path} cannot be made ({error.strerror}); point XDG_RUNTIME_DIR at a local directory "
            "of yours"
        ) from error
    found = path.lstat()
    problem = _problem(found)
    if problem is not None:
        raise BadRuntimeDir(f"{path} {problem}; remove it, or point XDG_RUNTIME_DIR elsewhere")
    return path


def _problem(found: os.stat_result) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(found.st_mode):
        return "is no directory"
    if found.st_uid != os.getuid():
        return f"belongs to user {found.st_uid}, not to {os.getuid()}"
    if found.st_mode & 0o077:
        return f"is open to others (mode {found.st_mode & 0o777:04o}, allowed: 0700)"
    return None


def home_key(home: Path) -> str:
    """Twelve characters that stand for a home in names on this host."""
    return hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]


def lock_path(runtime: Path, device: str, *, home: Path) -> Path:
    """The lock of a device: a GPU's belongs to the user, a CPU slot's to the home.

    Raises ValueError on a device id that would be no plain file name.
    """
    if device.startswith("cpu:"):
        slot = device.replace(":", "-")
        name = f"{slot}-{home_key(home)}.lock"
    else:
        name = f"gpu-{device}.lock"
    if not _PLAIN.fullmatch(name):
        raise ValueError(f"{device!r} is no device id: expected a UUID or cpu:<host>:<slot>")
    return runtime / name


def socket_path(runtime: Path, cookie: str) -> Path:
    """The socket of an attempt's shim. Raises BadRuntimeDir where AF_UNIX has no room for it."""
    path = runtime / f"s-{hashlib.sha256(cookie.encode()).hexdigest()[:16]}"
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise BadRuntimeDir(
            f"{path} has more than the {LONGEST_SOCKET} bytes of a socket's name; point "
            "XDG_RUNTIME_DIR at a shorter path"
        )
    return path
