"""Has a child in a session of its own whose parent is dead. With the word `bare` it has no environment."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from common import endure, ignore_term, say

if sys.argv[1] == "escapee":
    ignore_term()
    say("escapee")
    endure()
environment = {} if sys.argv[1] == "bare" else dict(os.environ)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        program = [sys.executable, "-I", "-S", __file__, "escapee"]
        os.execve(program[0], program, environment)
    os._exit(0)
os.wait()
say("trainer")
endure()
