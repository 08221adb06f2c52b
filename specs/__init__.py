"""The words of a campaign: what its file may say, and the files that its attempts leave.

The names below are looked up when first used, so that ``specs.files``, which the shim needs, loads
neither pydantic nor ruamel.yaml. The function that reads a file is ``specs.load.load``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specs.changes import apply_changes
    from specs.compare import difference, resolved_hash
    from specs.errors import SpecError, SpecErrors
    from specs.here import check_here
    from specs.load import Loaded, load_text
    from specs.run import CampaignSpec, RunSpec
    from specs.schema import json_schema

_HOMES = {
    "CampaignSpec": "specs.run",
    "Loaded": "specs.load",
    "RunSpec": "specs.run",
    "SpecError": "specs.errors",
    "SpecErrors": "specs.errors",
    "apply_changes": "specs.changes",
    "check_here": "specs.here",
    "difference": "specs.compare",
    "json_schema": "specs.schema",
    "load_text": "specs.load",
    "resolved_hash": "specs.compare",
}

__all__ = [
    "CampaignSpec",
    "Loaded",
    "RunSpec",
    "SpecError",
    "SpecErrors",
    "apply_changes",
    "check_here",
    "difference",
    "json_schema",
    "load_text",
    "resolved_hash",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
