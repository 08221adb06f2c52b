"""The judgement: which curves go wrong, which checkpoints are stable, and who has to be told.

The public names are loaded when they are asked for, so that importing one part costs no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watchers.alerts import Alert, SentLog, deliver
    from watchers.replay import review
    from watchers.sinks import make_sinks
    from watchers.verdict import Killer, Verdict
    from watchers.watcher import Watcher, run_forever

_HOMES = {
    "Alert": "watchers.alerts",
    "Killer": "watchers.verdict",
    "SentLog": "watchers.alerts",
    "Verdict": "watchers.verdict",
    "Watcher": "watchers.watcher",
    "deliver": "watchers.alerts",
    "make_sinks": "watchers.sinks",
    "review": "watchers.replay",
    "run_forever": "watchers.watcher",
}

__all__ = [
    "Alert",
    "Killer",
    "SentLog",
    "Verdict",
    "Watcher",
    "deliver",
    "make_sinks",
    "review",
    "run_forever",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
