"""Probes: what a checkpoint's model does, measured from the checkpoint alone. One probe a file.

Each module has a frozen `Options`, whose fields are the probe's own options, a frozen `Row`, and a pure
``probe(model, options, say)`` that returns rows. ``say`` gets a line of progress now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

Say = Callable[[str], None]

MODULES = {
    "spectrum": "trainers.ep.probes.spectrum",
    "lyapunov": "trainers.ep.probes.lyapunov",
    "anderson": "trainers.ep.probes.anderson",
    "knockout": "trainers.ep.probes.knockout",
    "eps-sweep": "trainers.ep.probes.eps_sweep",
    "adaptive-eps": "trainers.ep.probes.adaptive_eps",
    "relax": "trainers.ep.probes.relax",
    "gradient": "trainers.ep.probes.gradient",
    "compile": "trainers.ep.probes.compile",
}


class Row(Protocol):
    """A result: every field goes into the JSON, ``COLUMNS`` into the table, and ``finding`` says it in words."""

    COLUMNS: ClassVar[tuple[str, ...]]
    finding: str
