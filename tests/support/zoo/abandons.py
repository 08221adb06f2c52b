"""Ends well, and leaves a worker behind."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, say

if os.fork() == 0:
    say("worker")
    endure()
