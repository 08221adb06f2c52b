"""Laws of what is printed: results on stdout, talk on stderr, JSON in one envelope, 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.core import TyperGroup

from campaign.api import Client
from campaign.cli.app import app
from campaign.cli.grid import Cell, Column, Row, grid
from campaign.errors import ExitCode
from campaign.home import Home
from campaign.preparing import read_campaign
from campaign.records import Campaign
from specs.compare import resolved_hash
from tests.campaign.cli.conftest import Cli, campaign_file
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec
from watchers.ui_mlflow import NothingThere

READING = [
    ["ls"],
    ["ls", "c"],
    ["show", "a"],
    ["alerts"],
    ["checkpoints"],
    ["gpus"],
    ["config", "show"],
    ["doctor"],
    ["logs", "a"],
    ["schema"],
    ["version"],
    ["submit", "c.yaml", "--dry-run"],
    ["params", "c.yaml"],
]
SILENT = {"cancel", "kill", "resume", "up", "down", "ui", "import-flags"}
"""Verbs that do something and have no rows to give."""


def test_every_verb_that_reads_has_json() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    without = {
        name
        for name, verb in group.commands.items()
        if not isinstance(verb, TyperGroup)
        and not any("--json" in option.opts for option in verb.params)
    }
    assert without == SILENT


@pytest.mark.usefixtures("home")
def test_watching_in_json_is_a_line_for_each_change(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(a=spec(), b=spec())
    world.tick()
    there = Home(root=tmp_path / "two")
    fill(there, world)

    def goes_on(_: float) -> None:
        left = next(name for name in "ab" if world.run(name).status.status != "done")
        world.exits(left)
        fill(there, world)

    monkeypatch.setattr("campaign.follower.time.sleep", goes_on)
    done = cli("watch", "c", "--json", "--home", there.root)
    told = [json.loads(line)["data"] for line in done.out.splitlines()]
    assert [[(row["run"], row["status"]) for row in rows] for rows in told] == [
        [("a", "active"), ("b", "active")], [("a", "done")], [("b", "done")],
    ]  # fmt: skip


@pytest.mark.parametrize("words", READING, ids=" ".join)
@pytest.mark.usefixtures("home")
def test_every_reading_verb_speaks_json_in_one_envelope(
    words: list[str], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_file(tmp_path)
    log = tmp_path / "attempt-1" / "log.txt"
    log.parent.mkdir()
    log.write_text("a line\n")
    monkeypatch.setattr(Client, "log", lambda *_: log)
    done = cli(*words, "--json")
    answer = json.loads(done.out)
    assert answer["schema"] == 1
    assert isinstance(answer["data"], list)


@pytest.mark.usefixtures("home")
def test_the_rows_of_ls_have_the_promised_fields(cli: Cli) -> None:
    rows = {row["run"]: row for row in json.loads(cli("ls", "--json").out)["data"]}
    assert list(rows) == ["a", "b", "w"]
    promised = {
        "campaign", "run", "status", "result", "failure_class", "rule", "attempt", "step",
        "metrics", "device", "reason",
    }  # fmt: skip
    assert promised <= set(rows["a"])
    assert rows["a"]["metrics"]["val/ce"]["latest"] == 2.5
    assert rows["a"]["metrics"]["val/ce"]["best"] == 2.5
    assert rows["a"]["device"] == "cpu:h:0"
    assert (rows["b"]["status"], rows["b"]["result"]) == ("done", "failed")
    assert (rows["b"]["failure_class"], rows["b"]["attempt"]) == ("bad_exit", 1)
    assert "exit code 3" in rows["b"]["reason"]


def test_an_empty_home_is_an_empty_list_and_a_hint(cli: Cli) -> None:
    assert json.loads(cli("ls", "--json").out) == {"schema": 1, "data": []}
    done = cli("ls")
    assert (done.code, done.out) == (0, "")
    assert "campaign submit FILE" in done.err


@pytest.mark.usefixtures("home")
def test_talk_never_mixes_with_results(cli: Cli) -> None:
    done = cli("ls")
    assert "next: " in done.err
    assert "next: " not in done.out
    assert len(done.out.splitlines()) == 4


@pytest.mark.usefixtures("home")
def test_a_pipe_gets_no_colour(cli: Cli) -> None:
    done = cli("show", "a")
    assert "\x1b" not in done.out + done.err


@pytest.mark.parametrize("words", [["ls"], ["show", "a"], ["checkpoints"], ["gpus"]], ids=" ".join)
@pytest.mark.usefixtures("home")
def test_tables_fit_into_80_columns(
    words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(len(line) for line in cli(*words).out.splitlines()) <= 80


def test_submit_says_what_the_profile_means_and_names_the_others(cli: Cli) -> None:
    done = cli("submit", "specs/ep_resreg.yaml", "--dry-run")
    assert "profile laptop: 5 runs of ep" in done.err
    assert "--profile paper" in done.err
    assert "32,000 steps, width 512, 1 GPU" in done.err
    assert "times the work" in done.err


def test_a_plan_is_shown_where_no_device_can_take_the_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "gpus.json"
    script.write_text(json.dumps({"devices": []}))
    monkeypatch.setenv("CAMPAIGN_FAKE_GPUS", str(script))
    file = campaign_file(tmp_path, big={"resources": {"gpus": 2}}, small={})
    done = cli("submit", file, "--dry-run")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["RUN", "big", "small"]
    assert "no device here can take big: gpus is 2" in done.err
    assert f"next: campaign submit {file}\n" in done.err


def test_the_paper_profile_without_a_text_says_how_to_give_one(cli: Cli) -> None:
    done = cli("submit", "specs/ep_resreg.yaml", "--profile", "paper", "--no-start")
    assert done.code == 3
    assert "--set defaults.trainer.data.path=FILE" in done.err


def test_a_submit_in_json_names_its_runs(cli: Cli, tmp_path: Path) -> None:
    (row,) = json.loads(cli("submit", campaign_file(tmp_path), "--no-start", "--json").out)["data"]
    assert (row["campaign"], row["runs"], row["attached"]) == ("c", ["a"], False)


def test_waiting_for_a_submit_in_json_prints_one_answer(cli: Cli, tmp_path: Path) -> None:
    file = campaign_file(tmp_path)
    world = World(a=spec())
    world.tick()
    world.exits("a")
    same = resolved_hash(read_campaign(file).spec)
    record: Campaign = world.state.campaigns["c"].model_copy(update={"spec_hash": same})
    world.with_state(campaigns={"c": record})
    fill(Home(root=tmp_path / "runs"), world)
    done = cli("submit", file, "--wait", "--json")
    assert [row["result"] for row in json.loads(done.out)["data"]] == ["succeeded"]
    assert "attached to c: 1 of 1 run finished" in done.err


class _Served:
    """A UI that answers for its own address and one experiment."""

    url, pid = "http://127.0.0.1:1/?token=t", None

    def __enter__(self) -> _Served:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def campaign_url(self, campaign: str) -> str:
        if campaign == "published":
            return f"{self.url}#/published"
        raise NothingThere(f"MLflow has nothing of campaign {campaign!r} yet")


@pytest.mark.usefixtures("home")
def test_where_mlflow_has_nothing_yet_its_own_address_is_printed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "ui", lambda self, **_: _Served())
    done = cli("ui", "c")
    assert (done.code, done.out) == (0, f"{_Served.url}\n")
    assert "nothing of campaign 'c' yet" in done.err
    assert "campaign publish" in done.err


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [("published", 0, "#/published"), ("pub", ExitCode.NOT_FOUND, "there is no campaign pub")],
)
def test_what_was_published_is_shown_though_it_was_never_submitted_here(
    name: str, code: int, says: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client()
    client.home.create()
    client.home.mlflow_db.touch()
    monkeypatch.setattr(Client, "ui", lambda self, **_: _Served())
    done = cli("ui", name)
    assert done.code == code
    assert says in done.out + done.err


def test_simulated_devices_are_called_so(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "gpus.json"
    script.write_text(json.dumps({"devices": [{"id": "GPU-1", "index": 0, "name": "H200"}]}))
    monkeypatch.setenv("CAMPAIGN_FAKE_GPUS", str(script))
    done = cli("gpus")
    assert "SIMULATED" in done.err
    assert "SIMULATED" in done.out
    assert json.loads(cli("gpus", "--json").out)["data"][0]["probe"] == "fake"


def test_the_first_look_of_a_starting_controller_is_waited_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(root=tmp_path / "runs")
    monkeypatch.setattr("campaign.control.running", lambda _: object())
    looks = [lambda: None, lambda: fill(home, World(a=spec()))]
    monkeypatch.setattr("campaign.looking.time.sleep", lambda _: looks.pop(0)())
    done = cli("gpus")
    assert done.err.count("the controller is only starting") == 1
    assert "cpu:h:0" in done.out
    assert not looks


def test_a_controller_that_sees_no_host_in_time_is_told_with_its_log(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("campaign.control.running", lambda _: object())
    monkeypatch.setattr("campaign.looking.FIRST_LOOK", -1.0)
    done = cli("gpus")
    assert "has seen no host" in done.err
    assert str(tmp_path / "runs" / "controller.log") in done.err


def test_what_a_ray_node_declares_is_json(cli: Cli) -> None:
    declared = json.loads(cli("gpus", "--ray-resources").out)
    assert declared
    assert all(count == 1 for count in declared.values())


def test_the_schema_is_a_json_schema(cli: Cli) -> None:
    assert "definitions" in json.loads(cli("schema").out)


_TEXT = st.text("ab c", min_size=0, max_size=60)


@given(st.lists(st.tuples(_TEXT, _TEXT, _TEXT), min_size=1, max_size=5), st.integers(100, 200))
def test_no_line_of_a_table_is_wider_than_the_terminal(
    rows: list[tuple[str, str, str]], width: int
) -> None:
    lines = grid(
        [Column(title="A"), Column(title="B", right=True)],
        [Row(cells=(Cell(text=a), Cell(text=b)), note=note) for a, b, note in rows],
        note="WHY",
        width=width,
        colour=False,
    )
    assert max(map(len, lines)) <= width


@given(st.lists(_TEXT, min_size=1, max_size=5))
def test_without_a_terminal_nothing_is_cut_from_a_note(notes: list[str]) -> None:
    rows = [Row(cells=(Cell(text="x"),), note=note) for note in notes]
    text = "\n".join(grid([Column(title="A")], rows, note="", width=None, colour=False))
    assert all(" ".join(note.split()) in text for note in notes)
