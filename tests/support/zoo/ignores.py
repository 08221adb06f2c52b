"""Does not end on SIGTERM."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, ignore_term, say

ignore_term()
say("trainer")
endure()
