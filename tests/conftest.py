"""What every test needs, wherever it lies."""

from __future__ import annotations

import signal

from hypothesis import settings

# The same examples each time, so that a gate says what the change did; new ones are looked for with
# `pytest --hypothesis-profile explore`. No deadline: a busy machine is no failure.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("gate")


def pytest_configure() -> None:
    """Children start with the interrupt as it is at a terminal; under `nohup` or `&` a shell has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
