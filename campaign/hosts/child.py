"""The trainer as its parent sees it: started in its own group, left unreaped until all is swept.

An unreaped child keeps its pid, and with it the number of its process group: no signal to either can
reach anybody else. Standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from campaign.hosts import identity
from campaign.hosts.identity import Delivery, Identity
from campaign.hosts.records import LaunchRecord, trainer_environment
from specs.files import AttemptFiles


class NotSpawned(Exception):
    """The trainer's program could not be executed."""


@dataclass(frozen=True, kw_only=True)
class Departed:
    """How the trainer ended. ``max_rss_bytes``: its largest resident set, workers apart."""

    exit_code: int | None
    signal: int | None
    max_rss_bytes: int


class Child:
    """A running trainer. Its parent is this process, which also adopts its orphans."""

    def __init__(self, process: subprocess.Popen[bytes], who: Identity) -> None:
        self._process = process
        self.identity = who
        self.pidfd = os.pidfd_open(process.pid)

    def exited(self) -> bool:
        """Whether it has ended; it stays a zombie, so that its pid stays its own."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def signal(self, number: signal.Signals) -> Delivery:
        return Delivery.GONE if self.exited() else identity.send_through(self.pidfd, number)

    def kill_group(self) -> Delivery:
        sent = identity.send_through(self.pidfd, signal.SIGKILL, group=True)
        if sent is not Delivery.UNSUPPORTED:
            return sent
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # ours while the leader is unreaped
        except ProcessLookupError:
            return Delivery.GONE
        return Delivery.DELIVERED

    def reap(self) -> Departed:
        """Take its exit status; only after the sweep."""
        _, status, usage = os.wait4(self._process.pid, 0)
        os.close(self.pidfd)
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        return Departed(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            max_rss_bytes=usage.ru_maxrss * 1024,
        )

    def reap_orphans(self) -> None:
        """Take the status of adopted processes that ended, but never that of the trainer."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (ended := os.waitid(os.P_ALL, 0, flags)) is not None:
            if ended.si_pid == self._process.pid:
                return  # the rest are left to init: this process ends soon
            os.waitpid(ended.si_pid, 0)


def spawn(launch: LaunchRecord, files: AttemptFiles, locks: Sequence[int]) -> Child:
    """Start the trainer with the lock descriptors inherited. Raises NotSpawned."""
    log = os.open(files.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            launch.argv,
            cwd=launch.cwd,
            env=trainer_environment(launch, files),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=locks,
            process_group=0,
        )
    except (OSError, ValueError) as error:
        raise NotSpawned(_why(error, launch)) from error
    finally:
        os.close(log)
    return Child(process, identity.of_child(process.pid, launch.cookie))


def _why(error: Exception, launch: LaunchRecord) -> str:
    if isinstance(error, OSError) and error.filename == launch.cwd:
        return f"its working directory {launch.cwd} cannot be used: {error.strerror}"
    return f"{launch.argv[0]} cannot be executed: {error}"
