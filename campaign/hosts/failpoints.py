"""Named edges at which a shim can be told to die, so that tests reach every one of them.

``CAMPAIGN_FAILPOINT=<edge>`` in the shim's own environment; a trainer never inherits it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

ENV = "CAMPAIGN_FAILPOINT"
HIT = "failpoint.txt"

EDGES = (
    "before_attempt_lock",
    "before_pid",
    "after_pid",
    "before_lock",
    "after_lock",
    "before_spawn",
    "after_spawn",
    "after_trainer_pid",
    "before_term",
    "after_term",
    "after_ladder",
    "before_exit",
    "after_exit",
)


def reached(edge: str, directory: Path) -> None:
    """Die here by SIGKILL if this is the edge that was asked for; the file says that it was reached."""
    if edge not in EDGES:
        raise ValueError(f"{edge!r} is no failpoint; there are {', '.join(EDGES)}")
    if os.environ.get(ENV) == edge:
        (directory / HIT).write_text(edge)
        os.kill(os.getpid(), signal.SIGKILL)
