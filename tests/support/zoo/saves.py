"""Saves on SIGUSR1; on SIGTERM saves and leaves with 0."""

import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, note, say


def leave(*_: object) -> None:
    note("saved")
    sys.exit(0)


signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGUSR1, lambda *_: note("checkpoint"))
say("trainer")
endure()
