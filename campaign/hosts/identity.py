"""Which process a number means: (boot id, pid, start ticks, cookie), and signals that reach no other.

A pid alone is reused within minutes. The start time in ticks since boot, as field 22 of
/proc/<pid>/stat has it, does not move with the clock; together with the boot id it names one process.
The cookie is what the shim put into the environment of everything that it started.

Standard library only: the shim imports this without any installed package.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from specs.files import ENV_COOKIE

PROC = Path("/proc")
WHOLE_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
_DEAD = frozenset("ZXx")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """One process for ever. Where ``cookie`` is given, its environment must carry it too."""

    boot_id: str
    pid: int
    start_ticks: int
    cookie: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"boot_id": self.boot_id, "pid": self.pid, "start_ticks": self.start_ticks}


class Delivery(StrEnum):
    """What became of a signal."""

    DELIVERED = "delivered"
    GONE = "gone"  # the process is dead
    OTHER = "other"  # the pid is another process now, or one without our cookie: not signalled
    DENIED = "denied"  # the kernel refused: it runs as another user
    UNSUPPORTED = "unsupported"  # this kernel cannot do it


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """The part of /proc/<pid>/stat that identity and descent need."""

    pid: int
    name: str
    state: str
    parent: int
    group: int
    start_ticks: int


def parse_stat(text: bytes) -> Stat:
    """Raises ValueError on anything else. A name may hold spaces and parentheses: the last ends it."""
    head, _, tail = text.rpartition(b") ")
    pid, _, name = head.partition(b" (")
    fields = tail.split()
    if len(fields) < 20:
        raise ValueError(f"{text[:80]!r} is no line of /proc/<pid>/stat")
    return Stat(
        pid=int(pid),
        name=name.decode(errors="replace"),
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        start_ticks=int(fields[19]),
    )


def stat(pid: int) -> Stat | None:
    """None where there is no such process; a zombie is still reported, with its state."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return None


@cache
def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def of(pid: int, cookie: str | None = None) -> Identity | None:
    """The identity of a process that is alive now; None for a dead one and for a zombie."""
    found = stat(pid)
    if found is None or found.state in _DEAD:
        return None
    return _identity(found, cookie)


def of_child(pid: int, cookie: str) -> Identity:
    """The identity of an unreaped child, which may have ended already. Raises ProcessLookupError."""
    if (found := stat(pid)) is None:
        raise ProcessLookupError(f"{pid} is no child of this process")
    return _identity(found, cookie)


def is_alive(identity: Identity) -> bool:
    """Whether this very process runs. A zombie is dead. The cookie is not asked for."""
    if identity.boot_id != boot_id():
        return False
    found = stat(identity.pid)
    return (
        found is not None and found.state not in _DEAD and found.start_ticks == identity.start_ticks
    )


def from_json(value: object, *, boot: object, cookie: str | None) -> Identity | None:
    """The identity in a part of pid.json; None where none is written there."""
    if not isinstance(value, Mapping):
        return None
    return Identity(
        boot_id=str(boot),
        pid=int(value["pid"]),
        start_ticks=int(value["start_ticks"]),
        cookie=cookie,
    )


# ---------------------------------------------------------------- who is there


def pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208 - names alone


def cookie_of(pid: int) -> str | None:
    """The attempt cookie in the environment that the process was started with."""
    wanted = f"{ENV_COOKIE}=".encode()
    try:
        environment = (PROC / str(pid) / "environ").read_bytes()
    except OSError:  # gone, or not ours to read: then it is not ours at all
        return None
    for entry in environment.split(b"\0"):
        if entry.startswith(wanted):
            return entry[len(wanted) :].decode(errors="replace")
    return None


def _same_user(pid: int) -> bool:
    try:
        return (PROC / str(pid)).stat().st_uid == os.getuid()
    except OSError:  # it ended while we looked
        return False


def _carriers() -> Iterator[tuple[str, Stat]]:
    for pid in pids():
        if not _same_user(pid) or (cookie := cookie_of(pid)) is None:
            continue
        found = stat(pid)
        if found is not None and found.state not in _DEAD:
            yield cookie, found


def cookies() -> dict[str, tuple[int, ...]]:
    """Every attempt cookie that a live process of this user carries, with the pids."""
    found: dict[str, list[int]] = {}
    for cookie, process in _carriers():
        found.setdefault(cookie, []).append(process.pid)
    return {cookie: tuple(sorted(numbers)) for cookie, numbers in found.items()}


def carriers(cookie: str) -> list[Identity]:
    """Live processes of this user that carry the cookie, but for the caller itself."""
    return [
        _identity(process, cookie)
        for carried, process in _carriers()
        if carried == cookie and process.pid != os.getpid()
    ]


def descendants(roots: Iterable[int]) -> list[Identity]:
    """Live processes below ``roots``, from one look at /proc; the roots are not among them."""
    children: dict[int, list[Stat]] = {}
    for pid in pids():
        if (found := stat(pid)) is not None:
            children.setdefault(found.parent, []).append(found)
    below: list[Identity] = []
    waiting, met = list(roots), set(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child.pid not in met:
                met.add(child.pid)
                waiting.append(child.pid)
                if child.state not in _DEAD:
                    below.append(_identity(child, None))
    return below


def _identity(found: Stat, cookie: str | None) -> Identity:
    return Identity(boot_id=boot_id(), pid=found.pid, start_ticks=found.start_ticks, cookie=cookie)


# ---------------------------------------------------------------- signals


def open_pidfd(identity: Identity) -> int | Delivery:
    """A descriptor of exactly this process, or why there is none.

    First the descriptor is opened, then the identity is checked again: from then on the pid may be
    reused, and the descriptor still means the process that was checked.
    """
    if identity.boot_id != boot_id():
        return Delivery.GONE
    try:
        fd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return Delivery.GONE
    verdict = _check(identity)
    if verdict is not None:
        os.close(fd)
        return verdict
    return fd


def matches(identity: Identity) -> bool:
    """Whether this very process runs and carries the cookie: whether it may be signalled."""
    return identity.boot_id == boot_id() and _check(identity) is None


def _check(identity: Identity) -> Delivery | None:
    """None if the process behind the pid is the one meant."""
    found = stat(identity.pid)
    if found is None:
        return Delivery.GONE
    if found.start_ticks != identity.start_ticks:
        return Delivery.OTHER
    if found.state in _DEAD:
        return Delivery.GONE
    if identity.cookie is not None and cookie_of(identity.pid) != identity.cookie:
        return Delivery.OTHER
    return None


def send(identity: Identity, number: signal.Signals, *, group: bool = False) -> Delivery:
    """Signal exactly this process, or with ``group`` the process group that it leads; nobody else."""
    fd = open_pidfd(identity)
    if isinstance(fd, Delivery):
        return fd
    try:
        return send_through(fd, number, group=group)
    finally:
        os.close(fd)


def send_through(fd: int, number: signal.Signals, *, group: bool = False) -> Delivery:
    """Signal the process behind an open pidfd."""
    try:
        signal.pidfd_send_signal(fd, number, None, WHOLE_GROUP if group else 0)
    except ProcessLookupError:
        return Delivery.GONE
    except PermissionError:
        return Delivery.DENIED
    except OSError:  # EINVAL: a kernel without the flag for groups
        return Delivery.UNSUPPORTED
    return Delivery.DELIVERED


def wait_gone(identity: Identity, seconds: float) -> bool:
    """Wait until the process has ended; False if it has not after ``seconds``."""
    fd = open_pidfd(replace(identity, cookie=None))
    if isinstance(fd, Delivery):
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(fd)


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal, or ignores it, so that it does not die of it."""
    mask = 0
    with suppress(OSError):  # gone: then it handles nothing
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(("SigCgt:", "SigIgn:")):
                mask |= int(line.split()[1], 16)
    return bool(mask >> (number - 1) & 1)
