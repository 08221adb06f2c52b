"""Probes of HOPE: what a checkpoint's predictor does, measured from the checkpoint alone. One probe a file.

Each module has a frozen `Options`, frozen rows, and ``probe(opened, options, count, say)`` that returns rows;
``count``: clips, None for as many as the settings say. ``say`` gets a line of progress now and then.
"""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]

MODULES = {
    "nan": "trainers.hope.probes.nan",
    "memory": "trainers.hope.probes.memory",
    "jump": "trainers.hope.probes.jump",
}
