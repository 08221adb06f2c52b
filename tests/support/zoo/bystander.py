"""Somebody else's program: writes down every signal that reaches it."""

import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, note, say

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(number, lambda n, _: note(str(n)))
say("bystander")
endure()
