"""Law: a command that is advised can work as things are, and means the home that was meant."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.errors import ExitCode
from campaign.home import Home
from campaign.store import Store
from tests.campaign.cli.conftest import Cli, campaign_file
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec


def advised(err: str) -> list[str]:
    return re.findall(r"^(?:next: |      |  )(campaign .*)$", err, re.MULTILINE)


def fails(world: World) -> None:
    world.exits("a", 3)


def writes_then_fails(world: World) -> None:
    world.checkpoints("a", 10, 20)
    world.exits("a", 3)


def certifies_then_fails(world: World) -> None:
    world.checkpoints("a", 10, 20, certified=(10,))
    world.exits("a", 3)


def succeeds(world: World) -> None:
    world.checkpoints("a", 10, certified=(10,))
    world.exits("a", 0)


def goes_on(world: World) -> None:
    world.checkpoints("a", 10, certified=(10,))


@pytest.mark.parametrize(
    ("life", "resumed"),
    [
        (fails, "scratch"),
        (writes_then_fails, "latest"),
        (certifies_then_fails, "certified"),
        (succeeds, None),
        (goes_on, None),
    ],
)
def test_resume_is_advised_only_from_where_it_would_begin(
    life: Callable[[World], None], resumed: str | None, cli: Cli, tmp_path: Path
) -> None:
    world = World(a=spec(retry={"crashes": 0}))
    world.tick()
    life(world)
    world.tick()
    fill(Home(root=tmp_path / "runs"), world)
    said = advised(cli("show", "a").err)
    wanted = [] if resumed is None else [f"campaign resume c/a --from {resumed}"]
    assert [command for command in said if " resume " in command] == wanted
    assert any(("-f" in command) == (life is goes_on) for command in said if " logs " in command)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("origin", ["latest", "certified", "9"])
def test_a_resume_that_finds_no_checkpoint_names_what_would_do(origin: str, cli: Cli) -> None:
    done = cli("resume", "b", "--from", origin)
    assert done.code == ExitCode.NO_CHECKPOINT
    assert "steps that would do: none" in done.err
    assert advised(done.err) == ["campaign resume c/b --from scratch"]


def test_it_names_the_steps_that_would_do(cli: Cli, tmp_path: Path) -> None:
    world = World(a=spec(retry={"crashes": 0}))
    world.tick()
    writes_then_fails(world)
    world.tick()
    fill(Home(root=tmp_path / "runs"), world)
    done = cli("resume", "a", "--from", "certified")
    assert done.code == ExitCode.NO_CHECKPOINT
    assert "steps that would do: 10 (complete), 20 (complete)" in done.err
    assert advised(done.err) == [f"campaign resume c/a --from {o}" for o in ("latest", "scratch")]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    "words", [["ls"], ["show", "a"], ["checkpoints"], ["resume", "b"], ["gpus"]]
)
def test_advice_repeats_the_home_that_was_given(
    words: list[str], place: str, cli: Cli, home: Home, tmp_path: Path
) -> None:
    there = tmp_path / "my runs"
    home.root.rename(there)
    option = ["--home", "my runs"]
    done = cli(*option, *words) if place == "before" else cli(words[0], *option, *words[1:])
    commands = advised(done.err)
    assert commands
    assert all(shlex.split(c)[:3] == ["campaign", "--home", "my runs"] for c in commands)


@pytest.mark.usefixtures("home")
def test_it_does_not_name_the_home_that_is_meant_anyway(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--home" not in cli("ls").err
    monkeypatch.setenv("CAMPAIGN_HOME", "runs")
    assert "--home" not in cli("ls").err


def test_a_message_that_is_no_command_stays_as_it_is(cli: Cli, tmp_path: Path) -> None:
    """The name of a campaign that comes after the word is no verb."""
    home = ["--home", tmp_path / "x"]
    cli("submit", campaign_file(tmp_path), "--no-start", *home)
    refused = cli("submit", campaign_file(tmp_path, b={}), "--no-start", *home)
    assert "error: campaign c is there with other content" in refused.err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "words",
    [["ls"], ["show", "a"], ["show", "b"], ["checkpoints"], ["alerts"], ["gpus"], ["doctor"], ["resume", "b"]],
    ids=" ".join,
)  # fmt: skip
def test_no_advice_names_a_run_or_a_step_by_a_placeholder(words: list[str], cli: Cli) -> None:
    assert not [c for c in advised(cli(*words).err) if re.search(r"\b(RUN|STEP|CAMPAIGN)\b", c)]


def test_no_resume_is_advised_of_a_run_that_is_still_being_stopped(
    cli: Cli, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("campaign.api.Client._ask", lambda *_: "c/w is cancelled")
    done = cli("cancel", "w")
    assert "campaign show w" in advised(done.err)
    assert not [command for command in advised(done.err) if " resume " in command]
    assert not Store(home.store).open_requests()
