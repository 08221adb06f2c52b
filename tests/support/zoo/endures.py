"""Runs until it is told to end, and then ends as any program does."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, say

say("trainer")
endure()
