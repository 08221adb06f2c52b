"""What the processes of a training use, read with psutil."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

_MIB = float(2**20)


@dataclass(frozen=True, kw_only=True)
class _Use:
    """Of one process: seconds of CPU, bytes read and written (None: not allowed to look), so far."""

    cpu: float
    read: int | None
    written: int | None


@dataclass(frozen=True, kw_only=True)
class _Look:
    at: float
    uses: dict[tuple[int, float], _Use]
    rss: int
    threads: int


class ProcessTree:
    """A process and all its descendants. ``monotonic`` in seconds."""

    def __init__(self, pid: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pid = pid
        self._monotonic = monotonic
        self._before: _Look | None = None

    def sample(self) -> dict[str, float]:
        """Metrics now; empty once the process is gone. Rates are means since the last sample.

        ``system/cpu_percent`` counts 100 for each core kept busy.
        """
        try:
            root = psutil.Process(self._pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return {}
        now = self._look(family)
        before, self._before = self._before, now
        if not now.uses:
            return {}
        state = {
            "system/rss_mib": now.rss / _MIB,
            "system/threads": float(now.threads),
            "system/processes": float(len(now.uses)),
        }
        return state | (_rates(before, now) if before is not None else {})

    def _look(self, family: list[psutil.Process]) -> _Look:
        uses: dict[tuple[int, float], _Use] = {}
        rss = threads = 0
        for process in family:
            try:
                with process.oneshot():
                    uses[process.pid, process.create_time()] = _use(process)
                    rss += process.memory_info().rss
                    threads += process.num_threads()
            except psutil.Error:  # it ended while it was being looked at
                continue
        return _Look(at=self._monotonic(), uses=uses, rss=rss, threads=threads)


def _use(process: psutil.Process) -> _Use:
    times = process.cpu_times()
    try:
        io = process.io_counters()
    except psutil.AccessDenied:
        return _Use(cpu=times.user + times.system, read=None, written=None)
    return _Use(cpu=times.user + times.system, read=io.read_bytes, written=io.write_bytes)


def _rates(before: _Look, now: _Look) -> dict[str, float]:
    """A process that was not there before began at zero; one that is gone has taken its last bit along."""
    seconds = now.at - before.at
    if seconds <= 0:
        return {}
    cpu, read, written = 0.0, 0, 0
    for key, use in now.uses.items():
        old = before.uses.get(key, _Use(cpu=0.0, read=0, written=0))
        cpu += use.cpu - old.cpu
        read += (use.read or 0) - (old.read or 0)
        written += (use.written or 0) - (old.written or 0)
    return {
        "system/cpu_percent": 100.0 * cpu / seconds,
        "system/read_mib_per_s": read / _MIB / seconds,
        "system/write_mib_per_s": written / _MIB / seconds,
    }
