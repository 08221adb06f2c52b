"""Law: a configuration file that cannot be read is told with file and line by whoever meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign import events as e
from campaign.errors import ExitCode
from campaign.home import Home
from tests.campaign.cli.conftest import Cli, campaign_file
from tests.campaign.homes import fill
from tests.campaign.worlds import World, host, spec


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir(exist_ok=True)
    file = tmp_path / "runs" / "campaign.toml"
    file.write_text("[gpus]\nexclude = [0]\n[home]\ncpu_slots = -1\n")
    return file


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["gpus"], ExitCode.OK),
        (["gpus", "--ray-resources"], ExitCode.BAD_SPEC),
        (["up"], ExitCode.BAD_SPEC),
        (["config", "show"], ExitCode.BAD_SPEC),
        (["ls"], ExitCode.BAD_SPEC),
        (["ls", "--json"], ExitCode.BAD_SPEC),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("home")
def test_a_verb_without_a_controller_names_file_and_line(
    words: list[str], code: int, broken: Path, cli: Cli
) -> None:
    done = cli(*words)
    assert done.code == code
    assert f"{broken}:4: home.cpu_slots: " in done.err


def test_an_empty_home_whose_file_is_broken_says_so(broken: Path, cli: Cli) -> None:
    done = cli("ls")
    assert done.code == ExitCode.BAD_SPEC
    assert f"{broken}:4: home.cpu_slots: " in done.err


def test_a_submit_is_refused_with_file_and_line_and_leaves_nothing(
    broken: Path, cli: Cli, tmp_path: Path
) -> None:
    done = cli("submit", campaign_file(tmp_path))
    assert (done.code, done.out) == (ExitCode.BAD_SPEC, "")
    assert f"{broken}:4: " in done.err
    assert not Home(root=tmp_path / "runs").store.exists()


def test_what_a_controller_has_seen_of_it_stands_in_the_list_of_runs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(a=spec())
    problem = "/elsewhere/campaign.toml:3:1: is no TOML: Expected ']'"
    world.tell(e.HostSeen(facts=host().model_copy(update={"misconfigured": (problem,)})))
    world.tick()
    fill(Home(root=tmp_path / "runs"), world)
    monkeypatch.setattr("campaign.api.Client.controller", lambda _: object())
    done = cli("ls")
    assert problem in done.out
    assert f"host h: nothing starts until this is mended: {problem}" in done.err
