"""Signals to the wrapper of a program are meant for the program. Standard library only."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import FrameType

FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Relay:
    """Passes signals on to the child; one that comes before there is a child waits for it.

    SIGUSR1 asks for a checkpoint; a program that does not handle it would end by it, so it does not get
    it.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: list[int] = []
        for number in FORWARDED:
            signal.signal(number, self._heard)

    def to(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        while self._waiting:
            self._pass_on(child, self._waiting.pop(0))

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._child is None:
            self._waiting.append(number)
        else:
            self._pass_on(self._child, number)

    def _pass_on(self, child: subprocess.Popen[bytes], number: int) -> None:
        if number != signal.SIGUSR1 or handles(child.pid, number):
            child.send_signal(number)  # nothing if it has been waited for
        else:
            print("asked for a checkpoint, but the program does not handle SIGUSR1", flush=True)


def handles(pid: int, number: int) -> bool:
    """Has the process a handler for the signal, or ignores it? False also where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    masks = (int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt:", "SigIgn:")))
    return any(mask >> (number - 1) & 1 for mask in masks)
