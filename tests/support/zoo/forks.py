"""Has workers in its own process group that ignore SIGTERM; how many is its argument."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, ignore_term, say

for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        ignore_term()
        say("worker")
        endure()
say("trainer")
endure()
