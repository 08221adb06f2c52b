"""Equilibrium propagation for one non-conservative attention block. docs/ep.md describes it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "EpTraining": "trainers.ep.trainer",
    "TextBatches": "trainers.ep.text",
    "build": "trainers.ep.trainer",
    "Opened": "trainers.ep.open",
    "open_checkpoint": "trainers.ep.open",
    "text_of": "trainers.ep.text",
    "Params": "trainers.ep.block",
    "fold": "trainers.ep.block",
    "force": "trainers.ep.block",
    "Linearisation": "trainers.ep.linearise",
    "RelaxPolicy": "trainers.ep.relax",
    "eigenvalues": "trainers.ep.spectrum",
    "rightmost": "trainers.ep.abscissa",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Load on first use: importing this package imports no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
