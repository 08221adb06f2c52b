"""Law: what went wrong can be told by the exit code, and is told in words, never in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.errors import ExitCode
from campaign.home import Home
from campaign.store import Store
from tests.campaign.cli.conftest import Cli, campaign_file
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["ls"], ExitCode.OK, "next: "),
        (["ls", "d"], ExitCode.NOT_FOUND, "there is no campaign d"),
        (["show", "c/a"], ExitCode.OK, ""),
        (["show", "q"], ExitCode.NOT_FOUND, "there is no run q"),
        (["logs", "a"], ExitCode.NOT_FOUND, "is not on this machine"),
        (["logs", "a", "--attempt", "7"], ExitCode.NOT_FOUND, "not 7"),
        (
            ["show", "c"],
            ExitCode.NOT_FOUND,
            "c is a campaign, not a run; name one of its runs\n  c/w",
        ),
        (["alerts", "zz"], ExitCode.NOT_FOUND, "there is no campaign or run zz; there are\n  c/w"),
        (["checkpoints", "c/ab"], ExitCode.NOT_FOUND, "no campaign or run c/ab\n  did you mean c/"),
        (["show", ""], ExitCode.NOT_FOUND, "'' names no run; there are\n  c/w"),
        (["cancel", "b"], ExitCode.WRONG_STATE, "done already: failed"),
        (["cancel", "b"], ExitCode.WRONG_STATE, "campaign show c/b"),
        (["resume", "a"], ExitCode.WRONG_STATE, "is active"),
        (["resume", "b"], ExitCode.NO_CHECKPOINT, "no complete and healthy checkpoint"),
        (["resume", "b", "--from", "9"], ExitCode.NO_CHECKPOINT, "no checkpoint of step 9"),
        (["resume", "b", "--from", "here"], ExitCode.USAGE, "--from takes a step"),
        (["cancel"], ExitCode.USAGE, "name a run"),
        (["wait", "c", "--timeout", "0"], ExitCode.TIMEOUT, "its runs go on"),
        (["wait", "c", "--timeout", "-1"], ExitCode.USAGE, "greater than or equal to 0"),
        (["submit", "none.yaml"], ExitCode.BAD_SPEC, "no such file"),
        (
            ["gpus", "--release", "GPU-1"],
            ExitCode.NOT_FOUND,
            "in quarantine: no device\n  campaign gpus",
        ),
        (["publish", "."], ExitCode.NOT_FOUND, "holds no attempt"),
        (["publish", "a-file"], ExitCode.NOT_FOUND, "a-file is no directory: give a home"),
        (["ui", "--port", "99999"], ExitCode.USAGE, "--port"),
        (["ui", "d"], ExitCode.NOT_FOUND, "there is no campaign d"),
        (["down"], ExitCode.OK, ""),
        (["up", "--ray-address", "foo"], ExitCode.USAGE, "write HOST:PORT"),
        (["ls", "--home", "a-file"], ExitCode.USAGE, "is no directory; choose another"),
        (["ls", "--home", ""], ExitCode.USAGE, "--home names no directory"),
        (
            ["ls", "--home", "x" * 300],
            ExitCode.USAGE,
            "File name too long; choose another with --home",
        ),
        (["up", "--home", "a-file/below"], ExitCode.USAGE, "a-file is no directory"),
        (["nonsense"], ExitCode.USAGE, "nonsense"),
        (["ls", "--nonsense"], ExitCode.USAGE, "--nonsense"),
        ([], ExitCode.OK, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("home")
def test_a_verb_ends_with_its_code(
    words: list[str], code: int, says: str, cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "a-file").touch()
    done = cli(*words)
    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err


def test_nothing_is_left_to_stop_of_a_campaign_that_is_done(cli: Cli, tmp_path: Path) -> None:
    world = World(a=spec())
    world.tick()
    world.exits("a")
    fill(Home(root=tmp_path / "runs"), world)
    done = cli("cancel", "--campaign", "c")
    assert done.code == ExitCode.WRONG_STATE
    assert "every run of c is done already" in done.err


@pytest.mark.parametrize(
    ("result", "code"),
    [(0, ExitCode.OK), (3, ExitCode.RUN_FAILED)],
)
def test_waiting_for_what_is_done_tells_how_it_ended(
    result: int, code: int, cli: Cli, tmp_path: Path
) -> None:
    world = World(a=spec(retry={"crashes": 0}))
    world.tick()
    world.exits("a", result)
    fill(Home(root=tmp_path / "runs"), world)
    assert cli("wait", "c").code == code


def test_a_campaign_that_is_done_is_no_timeout_however_short_that_is(
    cli: Cli, tmp_path: Path
) -> None:
    world = World(a=spec())
    world.tick()
    world.exits("a")
    fill(Home(root=tmp_path / "runs"), world)
    assert cli("wait", "c", "--timeout", "0").code == ExitCode.OK


def test_an_attached_submit_is_fine_and_other_content_is_refused(cli: Cli, tmp_path: Path) -> None:
    first = cli("submit", campaign_file(tmp_path), "--no-start")
    again = cli("submit", campaign_file(tmp_path), "--no-start")
    other = cli("submit", campaign_file(tmp_path, b={}), "--no-start")
    named = cli("submit", campaign_file(tmp_path, b={}), "--no-start", "--as", "d")
    assert (first.code, first.out) == (0, "submitted c: 1 run\n")
    assert (again.code, again.out) == (0, "attached to c: 0 of 1 run finished\n")
    assert (other.code, other.out) == (ExitCode.WRONG_STATE, "")
    assert "runs.b: absent -> present" in other.err
    assert "--as NAME" in other.err
    assert named.code == 0


def test_every_error_of_a_file_is_told_with_its_place(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("campaign: c\nruns:\n  a: {trainer: {kind: command, argv: [], gpu: 1}}\n")
    done = cli("submit", path, "--no-start")
    assert done.code == ExitCode.BAD_SPEC
    assert f"{path}:3:" in done.err
    assert "2 errors; nothing was submitted" in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("verb", "closes"),
    [
        (["submit", "--no-start"], "1 error; nothing was submitted"),
        (["submit", "--dry-run"], "1 error; nothing was submitted"),
        (["params"], "1 error"),
    ],
    ids=" ".join,
)
def test_below_the_errors_stands_what_the_verb_did_not_do(
    cli: Cli, tmp_path: Path, verb: list[str], closes: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("campaign: c\nruns:\n  a: {trainer: {kind: command, argv: []}}\n")
    done = cli(verb[0], path, *verb[1:])
    assert done.code == ExitCode.BAD_SPEC
    assert done.err.splitlines()[-1] == closes


def test_a_certificate_that_can_never_be_given_stops_a_submit(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "campaign: c\nruns:\n  a:\n    trainer:\n      kind: command\n      argv: ['true']\n"
        "      metrics: {declared: [loss]}\n    certify: {metric: los, bands: {lss: {below: 1}}}\n"
    )
    done = cli("submit", path, "--no-start")
    assert (done.code, done.out) == (ExitCode.BAD_SPEC, "")
    assert f"{path}:8:23: runs.a.certify.metric: got the metric 'los'" in done.err
    assert f"{path}:8:36: runs.a.certify.bands.lss: got the metric 'lss'" in done.err
    assert done.err.count("did you mean `loss`?") == 2


def test_a_broken_store_is_told_with_what_to_do(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "campaign.db").write_bytes(b"no database" * 500)
    done = cli("ls")
    assert done.code == ExitCode.BUG
    assert "running trainers go on untouched" in done.err


def test_a_fault_of_ours_is_a_sentence_and_a_file(
    cli: Cli, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the unexpected")

    monkeypatch.setattr("campaign.views.Reader.brief_runs", broken)
    done = cli("ls")
    assert done.code == ExitCode.BUG
    assert "RuntimeError: the unexpected" in done.err
    assert "Traceback" not in done.err
    (where,) = [
        line.split(" is in ")[1].split(":")[0]
        for line in done.err.splitlines()
        if " is in " in line
    ]
    assert "the unexpected" in Path(where).read_text()
    Path(where).unlink()


def test_the_home_may_stand_before_or_after_the_verb(cli: Cli, tmp_path: Path) -> None:
    for name, words in {"x": ["--home", "x", "submit"], "y": ["submit", "--home", "y"]}.items():
        assert cli(*words, campaign_file(tmp_path), "--no-start").code == 0
        assert Store(tmp_path / name / "campaign.db").open_requests()


def test_the_home_of_the_environment_is_taken(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMPAIGN_HOME", str(tmp_path / "z"))
    cli("submit", campaign_file(tmp_path), "--no-start")
    assert (tmp_path / "z" / "campaign.db").exists()


@pytest.mark.parametrize(
    ("words", "follower"),
    [
        (["submit", "c.yaml", "--no-start", "--wait"], "campaign.cli.submit.follow"),
        (["wait", "c"], "campaign.cli.wait.follow"),
        (["watch"], "campaign.cli.watch.follow"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_ctrl_c_ends_the_following_and_not_the_runs(
    words: list[str], follower: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    cli("submit", campaign_file(tmp_path), "--no-start")
    monkeypatch.setattr(follower, interrupted)
    done = cli(*words)
    assert done.code == ExitCode.INTERRUPTED
    assert "the runs of c go on" in done.err
    assert [
        request.kind for request in Store(tmp_path / "runs" / "campaign.db").open_requests()
    ] == ["submit"]


def test_a_follower_says_once_that_no_controller_runs(cli: Cli, tmp_path: Path) -> None:
    cli("submit", campaign_file(tmp_path), "--no-start")
    done = cli("wait", "c", "--timeout", "0.3")
    assert done.err.count("no controller runs") == 1
    assert "campaign up" in done.err
