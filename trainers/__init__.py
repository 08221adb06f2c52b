"""The mathematics: what trains, the one loop that drives it, and the files it leaves.

Names are imported when they are first asked for: a command's wrapper starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Evidence": "trainers.protocol",
    "NonFinite": "trainers.protocol",
    "Snapshot": "trainers.protocol",
    "Trainer": "trainers.protocol",
    "Session": "trainers.fit",
    "fit": "trainers.fit",
    "MetricWriter": "trainers.metrics",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
