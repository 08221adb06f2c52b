"""What the animals of the zoo share: each says who it is, and none outlives a forgotten test.

Run as ``python -I -S <animal>.py``: standard library only. Every process appends one line
``<role> <pid>`` to the file ``who`` of its working directory.
"""

import os
import signal
import time

LONGEST = 120.0


def say(role: str) -> None:
    with open("who", "a") as file:
        file.write(f"{role} {os.getpid()}\n")


def note(word: str) -> None:
    with open("notes", "a") as file:
        file.write(word + "\n")


def ignore_term() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def endure() -> None:
    """Sleep until killed; handlers run in between."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        time.sleep(1.0)
    os._exit(99)
