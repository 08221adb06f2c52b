"""Laws of the log that is shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign import events as e
from campaign.cli.logs import start_of_last
from campaign.errors import ExitCode
from campaign.home import Home
from campaign.records import Campaign
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


@pytest.mark.usefixtures("with_log")
def test_in_json_each_line_comes_with_its_attempt(cli: Cli) -> None:
    done = cli("logs", "a", "-n", "2", "--json")
    assert [json.loads(line)["data"] for line in done.out.splitlines()] == [
        [{"attempt": 2, "line": "2: line 3"}],
        [{"attempt": 2, "line": "2: line 4"}],
    ]


class _Story:
    """A home that changes: each look of the follower takes it one step on."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = Home(root=root)
        self.world = World(a=spec(retry={"crashes": 1, "from_scratch": True}))
        record = self.world.state.campaigns["c"].model_copy(update={"root": str(root)})
        self.world.with_state(campaigns={"c": record})
        fill(self.home, self.world)
        self.steps: list[Callable[[], object]] = []
        monkeypatch.setattr("campaign.cli.logs.time.sleep", lambda _: self._go_on())

    def _go_on(self) -> None:
        assert self.steps, "it waits for what never comes"
        self.steps.pop(0)()
        fill(self.home, self.world)

    def begin(self) -> None:
        self.world.tick(after=600.0)

    def write(self, number: int, text: str) -> Callable[[], None]:
        def step() -> None:
            log = self.home.attempt("c", "a", number) / "log.txt"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file:
                file.write(text)

        return step

    def end(self, code: int) -> Callable[[], None]:
        return lambda: self.world.exits("a", code)


def test_following_waits_for_the_first_attempt_and_goes_over_to_the_next(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = _Story(tmp_path / "runs", monkeypatch)
    story.steps = [
        lambda: None, story.begin, story.write(1, "one\n"), story.write(1, "two\n"), story.end(3),
        story.begin, story.write(2, "three\n"), story.end(0),
    ]  # fmt: skip
    done = cli("logs", "a", "-f")
    assert (done.code, done.out) == (0, "one\ntwo\nthree\n")
    assert done.err.count("waiting for it") == 1
    assert "a has no attempt yet" in done.err


def test_following_what_ends_without_an_attempt_ends_too(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = _Story(tmp_path / "runs", monkeypatch)
    stop = e.StopRequested(runs=(("c", "a"),), kill=False, by="user", reason="enough")
    story.steps = [lambda: story.world.tell(stop)]
    done = cli("logs", "a", "-f")
    assert done.code == ExitCode.NOT_FOUND
    assert "no attempt" in done.err
    assert "the run is done" in done.err
