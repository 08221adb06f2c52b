"""The host's side of `hosts/shim.py`: have shims forked, and learn whether each came up."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
import weakref
from enum import StrEnum
from pathlib import Path

from campaign.hosts import failpoints
from campaign.hosts.renaming import NO_COOKIE
from campaign.hosts.shim import PADDING
from specs.files import ENV_COOKIE

SHIM = Path(__file__).with_name("shim.py")
_TRIES = 2


class Came(StrEnum):
    """What became of a shim."""

    UP = "up"  # the attempt is on record, by this shim or by an earlier one
    DOWN = "down"  # it died before
    LATE = "late"  # nothing is known yet


class Shims:
    """Starts shims through one forking process, which is started when it is first needed.

    May be used by several threads. ``python``: the interpreter of the shims.
    """

    def __init__(self, python: str) -> None:
        self._python = python
        self._guard = threading.Lock()
        self._forker: _Forker | None = None

    def start(self, directory: Path, cookie: str, log: int, *, deadline: float) -> Came:
        """Fork the shim of an attempt and wait until it is on record, ``deadline`` seconds at most.

        Raises OSError where no process can be started.
        """
        for _ in range(_TRIES):
            ready, tell = os.pipe()
            try:
                forker = self._send(_message(directory, cookie), [log, tell])
            finally:
                os.close(tell)
            came = _answer(ready, deadline)
            # a forker that was killed, say by Ray, says nothing of the attempt: a second try does no
            # harm, as an attempt has but one life
            if came is not Came.DOWN or forker.is_alive():
                return came
        return came

    def _send(self, message: bytes, descriptors: list[int]) -> _Forker:
        with self._guard:
            if self._forker is None or not self._forker.is_alive():
                self._forker = _Forker(self._python)
            try:
                self._forker.send(message, descriptors)
            except (BrokenPipeError, ConnectionResetError):  # it has just died
                self._forker = _Forker(self._python)
                self._forker.send(message, descriptors)
            return self._forker


class _Forker:
    """The process, and our end of its socket; it ends when this object goes."""

    def __init__(self, python: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [python, "-I", "-S", str(SHIM), PADDING],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                close_fds=True,
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )
        weakref.finalize(self, _let_go, self._socket, self._process)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: bytes, descriptors: list[int]) -> None:
        socket.send_fds(self._socket, [message], descriptors)


def _let_go(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()  # its end of input
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:  # it holds nothing; its shims are not its children
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    """Nothing of ours that a shim need not have, and room for its cookie."""
    inherited = {"PATH": os.environ["PATH"]} if "PATH" in os.environ else {}
    return {**inherited, ENV_COOKIE: NO_COOKIE}


def _message(directory: Path, cookie: str) -> bytes:
    environment = {n: os.environ[n] for n in (failpoints.ENV,) if n in os.environ}
    told = {"directory": str(directory), "cookie": cookie, "environment": environment}
    return json.dumps(told).encode()


def _answer(ready: int, deadline: float) -> Came:
    """The shim's byte; closes the pipe."""
    try:
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        if not poll.poll(deadline * 1000):
            return Came.LATE
        return Came.UP if os.read(ready, 1) else Came.DOWN
    finally:
        os.close(ready)
