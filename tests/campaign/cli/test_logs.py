"""Laws of the log that is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.cli.logs import start_of_last
from campaign.home import Home
from campaign.state import Campaign
from tests.campaign.cli.conftest import Cli
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec


@given(st.lists(st.text("ab", max_size=5), max_size=8), st.booleans(), st.integers(0, 10))
def test_the_last_lines_are_those_that_splitting_gives(
    lines: list[str], ended: bool, count: int
) -> None:
    text = "\n".join(lines) + ("\n" if ended and lines else "")
    data = text.encode()
    start = start_of_last(io.BytesIO(data), count)
    wanted = data.splitlines(keepends=True)
    assert data[start:] == b"".join(wanted[len(wanted) - min(count, len(wanted)) :])


def test_a_log_longer_than_a_block_is_read_from_its_end() -> None:
    data = b"x" * 200_000 + b"\nlast\n"
    assert data[start_of_last(io.BytesIO(data), 1) :] == b"last\n"


@pytest.fixture
def with_log(tmp_path: Path) -> Home:
    """./runs where run a is done after two attempts, each with its log."""
    world = World(a=spec(retry={"from_scratch": True}))
    home = Home(root=tmp_path / "runs")
    record: Campaign = world.state.campaigns["c"].model_copy(update={"root": str(home.root)})
    world.with_state(campaigns={"c": record})
    world.tick()
    world.exits("a", 3)
    world.tick(after=600.0)
    world.exits("a", 0)
    fill(home, world)
    for number in (1, 2):
        log = home.attempt("c", "a", number) / "log.txt"
        log.parent.mkdir(parents=True)
        log.write_text("".join(f"{number}: line {i}\n" for i in range(5)))
    return home


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["-n", "2"], "2: line 3\n2: line 4\n"),
        (["-n", "1", "--attempt", "1"], "1: line 4\n"),
        (["-n", "1", "-f"], "2: line 4\n"),  # the run is done, so following ends
    ],
)
@pytest.mark.usefixtures("with_log")
def test_the_newest_attempt_is_shown_unless_another_is_asked_for(
    words: list[str], out: str, cli: Cli
) -> None:
    assert cli("logs", "a", *words).out == out
