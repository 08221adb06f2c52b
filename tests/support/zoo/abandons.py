"""Ends well, and leaves a worker behind."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, say

told, tell = os.pipe()
if os.fork() == 0:
    say("worker")
    os.write(tell, b"1")
    endure()
os.read(told, 1)  # it is swept as soon as this process has ended
