"""The directories: the runtime directory for locks and sockets, the home for everything that lasts."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from campaign.checks.finding import Context, Finding, fail, nearest_existing, ok, warn
from campaign.hosts.runtime import LONGEST_SOCKET

BELOW_RUNTIME = len(
    "/ray-0123456789ab/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
)
"""Bytes below the runtime directory of the longest socket there: one of Ray's."""

LEAST_SQLITE = (3, 35, 0)  # the first with RETURNING
GIB = 1 << 30
LEAST_FREE = 1 * GIB
WANTED_FREE = 10 * GIB

NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "beegfs",
        "pvfs2",
        "orangefs",
        "davfs",
        "fuse",
        "fuseblk",
        "ncpfs",
        "coda",
    }
)
DOUBTFUL = {
    "9p": "a folder of another machine, whose locks may not hold",
    "virtiofs": "a folder of another machine, whose locks may not hold",
    "tmpfs": "memory: it is empty after a reboot",
    "ramfs": "memory: it is empty after a reboot",
}


@dataclass(frozen=True, kw_only=True)
class Mount:
    point: str
    type: str
    source: str


def mount_of(path: Path, mountinfo: str) -> Mount:
    """The mount that a resolved path lies on, from the text of /proc/self/mountinfo (proc(5))."""
    best: Mount | None = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = _unescaped(left.split()[4])
        kind, source = right.split()[:2]
        # of mounts at the same point the last one lies on top
        if path.is_relative_to(point) and (best is None or len(point) >= len(best.point)):
            best = Mount(point=point, type=kind, source=_unescaped(source))
    if best is None:
        raise ValueError(f"no mount holds {path}")
    return best


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def runtime(context: Context) -> Iterable[Finding]:
    """Locks and sockets lie in a directory of this user alone, and the names of sockets are short."""
    if context.runtime is None:
        advice = "nothing can be locked without it"
        yield fail("runtime directory", context.runtime_problem, advice)
        return
    yield ok("runtime directory", f"{context.runtime} is yours alone")
    length = len(os.fsencode(context.runtime))
    most = LONGEST_SOCKET - BELOW_RUNTIME
    if length > most:
        sentence = f"{context.runtime} is {length} bytes long; sockets below it allow {most}"
        yield fail("socket paths", sentence, "point XDG_RUNTIME_DIR at a shorter path")
    else:
        yield ok("socket paths", f"sockets fit ({length} of at most {most} bytes)")


def home_file_system(context: Context) -> Iterable[Finding]:
    """SQLite's write-ahead log and kernel locks need a file system of this host."""
    where = nearest_existing(context.home.absolute()).resolve()
    mount = mount_of(where, Path("/proc/self/mountinfo").read_text())
    on = f"the home {context.home} is on {mount.type} ({mount.source} at {mount.point})"
    advice = "choose a home on a local disk: --home or CAMPAIGN_HOME"
    if mount.type in NETWORK or mount.type.startswith("fuse."):
        yield fail("home", f"{on}, where a store can be damaged", advice)
    elif mount.type in DOUBTFUL:
        yield warn("home", f"{on}, {DOUBTFUL[mount.type]}", advice)
    else:
        yield ok("home", on)


def disk_space(context: Context) -> Iterable[Finding]:
    """Room for checkpoints, metrics and the store."""
    free = shutil.disk_usage(nearest_existing(context.home.absolute())).free
    sentence = f"{free / GIB:.1f} GiB are free at {context.home}"
    advice = "free some space, or choose another home: checkpoints are large"
    if free < LEAST_FREE:
        yield fail("disk space", sentence, advice)
    elif free < WANTED_FREE:
        yield warn("disk space", sentence, advice)
    else:
        yield ok("disk space", sentence)


def sqlite(context: Context) -> Iterable[Finding]:
    """The store: version, and a write-ahead log that works at the home."""
    have = sqlite3.sqlite_version_info
    if have < LEAST_SQLITE:
        wanted = ".".join(map(str, LEAST_SQLITE))
        advice = "use a Python that is built with a newer SQLite"
        yield fail("SQLite", f"SQLite {sqlite3.sqlite_version} is older than {wanted}", advice)
        return
    place = nearest_existing(context.home.absolute())
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".campaign-doctor-") as folder:
            mode = _try_store(Path(folder) / "probe.db")
    except (OSError, sqlite3.Error) as error:
        yield fail("SQLite", f"no store can be kept at {place}: {error}", "choose another home")
        return
    if mode == "wal":
        yield ok("SQLite", f"SQLite {sqlite3.sqlite_version} with a write-ahead log")
    else:
        yield fail("SQLite", f"no write-ahead log at {place} ({mode})", "choose another home")


def _try_store(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        mode = str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE probe (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO probe VALUES (1) RETURNING id").fetchone()
        connection.commit()
    finally:
        connection.close()
    return mode


CHECKS = (runtime, home_file_system, disk_space, sqlite)
