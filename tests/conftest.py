"""What every test needs, wherever it lies."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from tests.support.gpu_here import missing_gpu

# The same examples each time, so that a gate says what the change did; new ones are looked for with
# `pytest --hypothesis-profile explore`. No deadline: a busy machine is no failure.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile("gate")


def pytest_configure() -> None:
    """Children start with the interrupt as it is at a terminal; under `nohup` or `&` a shell has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that needs an NVIDIA GPU is skipped on a machine without one."""
    if item.get_closest_marker("gpu") is not None and (why := missing_gpu()) is not None:
        pytest.skip(why)
