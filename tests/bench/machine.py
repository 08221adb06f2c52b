"""What the figures depend on: the machine, its load, the versions."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_LIBRARIES = ("ray", "mlflow", "torch", "pydantic")


def facts(where: Path) -> Mapping[str, object]:
    """``where``: a folder on the disk that is written to."""
    return {
        "at": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} CPUs usable",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
        "disk": f"{where} ({_file_system(where)})",
        "versions": ", ".join(
            [
                f"python {platform.python_version()}",
                f"sqlite {sqlite3.sqlite_version}",
                *(f"{name} {_version(name)}" for name in _LIBRARIES),
            ]
        ),
        "load": load(),
    }


def load() -> str:
    """Processes that ran or waited for a CPU, on average over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(where: Path) -> str:
    """The type of the mount that holds it: on tmpfs a flush to disk costs nothing."""
    parts = psutil.disk_partitions(all=True)
    holding = [p for p in parts if where.resolve().is_relative_to(p.mountpoint)]
    return max(holding, key=lambda part: len(part.mountpoint)).fstype


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
