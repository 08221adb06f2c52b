"""Durations, times, sizes and devices as people read them."""

from __future__ import annotations

import time

_DAY = 86400.0


def count(number: int, what: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """``45s``, ``12m``, ``3.5h``, ``2.1d``."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    if seconds < 5400:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.1f}h" if seconds < 1.5 * _DAY else f"{seconds / _DAY:.1f}d"


def moment(t: float | None) -> str:
    """A time in the zone of the reader; with its date if it is not of the last day."""
    if t is None:
        return ""
    recent = abs(time.time() - t) < _DAY
    return time.strftime("%H:%M:%S" if recent else "%Y-%m-%d %H:%M", time.localtime(t))


def short_device(device: str) -> str:
    """``GPU-1f0c2a3b`` for a full UUID; several are counted."""
    first, *more = device.split(", ")
    short = first if first.startswith("cpu:") else first[:12]
    return f"{short} +{len(more)}" if more else short


def memory(used: int | None, total: int | None) -> str:
    """``40.1/139.8 GiB``."""
    if total is None:
        return ""
    return f"{(used or 0) / 2**30:.1f}/{total / 2**30:.0f} GiB"
