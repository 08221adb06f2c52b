"""The command line, called in this process; and homes with something in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from campaign import control
from campaign.cli.main import main
from campaign.errors import ControllerDown
from campaign.home import Home
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec


@dataclass(frozen=True, kw_only=True)
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an empty directory; no home, width or colour from whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("CAMPAIGN_HOME", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of the command line starts one by accident."""

    def refuse(home: Home, **_: object) -> None:
        raise ControllerDown(f"no controller for {home.root} in this test")

    monkeypatch.setattr(control, "start", refuse)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["campaign", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Outcome(code=int(end.value.code or 0), out=said.out, err=said.err)

    return call


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """./runs with campaign c: `a` active with a certified checkpoint, `b` done, `w` waiting."""
    world = World(a=spec(), b=spec(retry={"crashes": 0}), w=spec())
    world.tick()
    world.checkpoints("a", 10, 20, certified=(10,))
    world.exits("b", 3)
    world.tick()
    found = Home(root=tmp_path / "runs")
    fill(found, world, a={"val/ce": 2.5}, b={"val/ce": 4.0})
    return found


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


COMMAND = {"kind": "command", "argv": ["true"]}


def campaign_file(directory: Path, name: str = "c", **runs: Any) -> Path:
    """A campaign file of command runs; a run is what stands beside its trainer."""
    content = {
        "campaign": name,
        "runs": {run: {"trainer": COMMAND, **more} for run, more in (runs or {"a": {}}).items()},
    }
    return write(directory / f"{name}.yaml", json.dumps(content))
