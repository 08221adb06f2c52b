"""Hosts: where attempts live. Loaded lazily, because the shim imports from here without any package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from campaign.hosts.local import LocalHost as LocalHost
    from campaign.hosts.orders import FileKiller as FileKiller

_HOMES = {"LocalHost": "campaign.hosts.local", "FileKiller": "campaign.hosts.orders"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
