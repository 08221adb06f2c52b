"""What the shim needs of the kernel, each thing proved by doing it."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from campaign.checks.finding import Context, Finding, fail, ok, warn
from campaign.hosts import locks

KERNEL_ADVICE = "use Linux 5.4 or later, outside of sandboxes that forbid it"
WANTED_FILES = 4096
LEAST_FILES = 1024
_DEADLINE = 20.0

_SUBREAPER = """
import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
    sys.exit(2)
ours = os.getpid()
ready, write = os.pipe()
child = os.fork()
if child == 0:
    if os.fork() == 0:
        os.read(ready, 1)
        os._exit(0 if os.getppid() == ours else 1)
    os._exit(0)
os.waitpid(child, 0)
os.write(write, b"1")
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
"""Ends with 0 if an orphaned grandchild becomes a child of the subreaper."""

_HOLD = "import sys; sys.stdin.read()"


def pidfd(context: Context) -> Iterable[Finding]:
    """A signal through a pidfd can never hit a stranger that got a reused pid."""
    try:
        fd = os.pidfd_open(os.getpid())
        try:
            signal.pidfd_send_signal(fd, 0)
        finally:
            os.close(fd)
    except (OSError, AttributeError) as error:
        yield fail(
            "pidfd", f"processes cannot be signalled through a pidfd: {error}", KERNEL_ADVICE
        )
    else:
        yield ok("pidfd", "processes can be signalled through a pidfd")


def subreaper(context: Context) -> Iterable[Finding]:
    """Tried in a child, because it cannot be undone for the processes that exist."""
    done = _python(_SUBREAPER)
    if done.returncode == 0:
        yield ok("subreaper", "orphans of a trainer come to its shim")
    else:
        sentence = f"orphans of a trainer do not come to its shim (code {done.returncode})"
        yield fail("subreaper", sentence, KERNEL_ADVICE)


def lock_inheritance(context: Context) -> Iterable[Finding]:
    """A device lock must live as long as the last process that inherited it."""
    with tempfile.TemporaryDirectory(dir=context.runtime, prefix="doctor-") as folder:
        problem = lock_problem(Path(folder) / "probe.lock")
    if problem is None:
        yield ok(
            "device locks", "a device lock lives as long as the last process that inherited it"
        )
    else:
        advice = "put the runtime directory (XDG_RUNTIME_DIR) on a local file system"
        yield fail("device locks", problem, advice)


def lock_problem(path: Path) -> str | None:
    """What flock does wrong with a descriptor that a child inherited; None if nothing."""
    ours = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _HOLD], stdin=subprocess.PIPE, pass_fds=(ours,)
        )
    finally:
        os.close(ours)
    held = locks.is_held(path)
    child.communicate(timeout=_DEADLINE)
    if not held:
        return "a device lock is lost when it is handed to a trainer"
    return "a device lock stays after its last holder has ended" if locks.is_held(path) else None


def proc(context: Context) -> Iterable[Finding]:
    """A process is known by boot id, pid and start ticks, and its tree by a cookie in its environment."""
    try:
        stat = Path("/proc/self/stat").read_text()
        ticks = int(stat.rpartition(")")[2].split()[19])
        Path("/proc/self/environ").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError, IndexError) as error:
        yield fail("/proc", f"processes cannot be identified: {error}", "mount /proc, unfiltered")
    else:
        yield ok("/proc", f"processes can be identified (boot {boot[:8]}, start ticks {ticks})")


def open_files(context: Context) -> Iterable[Finding]:
    """The supervisor and the watcher of a host hold several files for each run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    sentence = f"a process may open {soft} files (up to {hard})"
    advice = f"raise it before `campaign up`: ulimit -n {WANTED_FILES}"
    if soft < LEAST_FILES:
        yield fail("open files", sentence, advice)
    elif soft < WANTED_FILES:
        yield warn("open files", f"{sentence}: enough for some tens of runs", advice)
    else:
        yield ok("open files", sentence)


def _python(program: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_DEADLINE,
        check=False,
    )


CHECKS = (pidfd, subreaper, lock_inheritance, proc, open_files)
