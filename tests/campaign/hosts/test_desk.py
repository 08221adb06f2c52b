"""Laws of the desk: what a host could not do is told as the fact that it is."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from campaign.hosts import messages
from campaign.hosts.desk import Desk
from campaign.hosts.leaser import NoLeaser
from campaign.hosts.messages import AnyFact
from campaign.hosts.port import HostFacts, Order, OrderAction
from tests.campaign.worlds import host

ORDER = Order(key="reap", action=OrderAction.STOP, by="controller", reason="its shim was killed")


class Scripted:
    """A host that describes itself and remembers the rest."""

    def __init__(self) -> None:
        self.kept: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def describe(self) -> HostFacts:
        return host()

    def reap(self, directory: str, order: Order) -> None:
        raise OSError(28, "No space left on device")

    def keep(self, directory: str, steps: tuple[int, ...]) -> None:
        self.kept.put((directory, steps))


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def facts() -> queue.SimpleQueue[AnyFact]:
    return queue.SimpleQueue()


@pytest.fixture
def opened(scripted: Scripted, facts: queue.SimpleQueue[AnyFact]) -> Iterator[Desk]:
    found = Desk(
        emit=facts.put,
        hosts={"h": scripted},  # type: ignore[dict-item]
        watch=lambda *_: None,
        leaser=NoLeaser(),
        stop=threading.Event(),
    )
    yield found
    found.close()


def test_a_reaper_that_failed_is_a_fact_about_its_attempt(
    opened: Desk, facts: queue.SimpleQueue[AnyFact]
) -> None:
    opened.take(messages.Reap(host="h", directory="/runs/c/a/attempt-1", order=ORDER))
    fact = facts.get(timeout=10)
    assert isinstance(fact, messages.ReapFailed)
    assert fact.directory == "/runs/c/a/attempt-1"
    assert "No space left on device" in fact.reason


def test_what_is_to_be_kept_reaches_the_host(opened: Desk, scripted: Scripted) -> None:
    opened.take(messages.Keep(host="h", directory="/d", steps=(10, 20)))
    assert scripted.kept.get(timeout=10) == ("/d", (10, 20))
