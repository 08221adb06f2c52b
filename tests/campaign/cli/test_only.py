"""``submit --only RUN``: it is submitted alone, and said again in what to type next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from campaign.api import Client
from campaign.debug import Foreground
from campaign.errors import ExitCode
from specs.errors import SpecErrors
from specs.run import CampaignSpec
from tests.campaign.cli.conftest import Cli
from tests.campaign.worlds import spec


def _file(directory: Path) -> Path:
    path = directory / "c.yaml"
    run = {"trainer": {"kind": "command", "argv": ["true"]}}
    path.write_text(json.dumps({"campaign": "c", "runs": {"a": run, "b": run, "other": run}}))
    return path


def _runs(cli: Cli) -> list[str]:
    return [row["run"] for row in json.loads(cli("ls", "--json").out)["data"]]


def test_only_the_chosen_runs_are_submitted_and_the_same_choice_attaches(
    cli: Cli, tmp_path: Path
) -> None:
    file = _file(tmp_path)
    made = cli("submit", file, "--only", "a", "--only", "other", "--no-start")
    assert (made.code, made.out) == (0, "submitted c: 2 runs\n")
    assert _runs(cli) == ["a", "other"]
    again = cli("submit", file, "--only", "other", "--only", "a", "--no-start")
    assert (again.code, _runs(cli)) == (0, ["a", "other"])


def test_another_choice_under_the_same_name_is_other_content(cli: Cli, tmp_path: Path) -> None:
    file = _file(tmp_path)
    cli("submit", file, "--only", "a", "--no-start")
    refused = cli("submit", file, "--no-start")
    assert refused.code == ExitCode.WRONG_STATE
    assert "runs.b: absent -> present" in refused.err
    assert cli("submit", file, "--no-start", "--as", "all").code == 0


def test_a_plan_shows_the_chosen_runs_and_the_line_that_submits_them(
    cli: Cli, tmp_path: Path
) -> None:
    file = _file(tmp_path)
    plan = cli("submit", file, "--only", "b", "--set", "b.priority=2", "--dry-run")
    assert [line.split()[0] for line in plan.out.splitlines()[1:]] == ["b"]
    assert f"next: campaign submit {file} --only b --set b.priority=2" in plan.err


def test_an_unknown_run_is_an_invalid_input_and_nothing_is_submitted(
    cli: Cli, tmp_path: Path
) -> None:
    refused = cli("submit", _file(tmp_path), "--only", "othr", "--no-start")
    assert refused.code == ExitCode.BAD_SPEC
    assert "did you mean `other`?" in refused.err
    assert "nothing was submitted" in refused.err


@pytest.mark.parametrize("home", [[], ["--home", "there"]], ids=["usual", "given"])
def test_a_refused_choice_says_the_whole_line_under_another_name(
    home: list[str], cli: Cli, tmp_path: Path
) -> None:
    file = _file(tmp_path)
    cli(*home, "submit", file, "--no-start")
    words = ["--only", "a", "--only", "b", "--set", "a.priority=2"]
    refused = cli(*home, "submit", file, *words, "--as", "c", "--no-start")
    assert refused.code == ExitCode.WRONG_STATE
    assert "runs.other: present -> absent" in refused.err
    line = " ".join(["campaign", *home, "submit", str(file), "--as", "NAME", *words])
    assert f"  {line}\n" in refused.err
    assert cli(*line.replace("NAME", "d").split()[1:], "--no-start").code == ExitCode.OK


def test_an_interrupted_run_in_the_foreground_says_the_choice_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Foreground, "run", interrupt)
    file = _file(tmp_path)
    done = cli("submit", file, "--only", "b", "--debug")
    assert done.code == ExitCode.INTERRUPTED
    assert f"campaign submit {file} --only b --debug\n" in done.err


PROFILES = """campaign: c
profile: small
profiles:
  small: {trainer: {steps: 10}}
  large: {trainer: {steps: 100}}
  bare: {only: [b]}
defaults: {trainer: {kind: ep}}
runs: {a: {}, b: {}}
"""


def test_other_profiles_are_sized_by_the_chosen_runs_and_named_only_if_they_have_them(
    cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(PROFILES)
    done = cli("submit", file, "--only", "a", "--dry-run")
    assert "profile small: 1 run of ep: 10 steps" in done.err
    assert "--profile large takes the other: 1 run of ep: 100 steps" in done.err
    assert "about 10 times the work" in done.err
    assert "--profile bare" not in done.err
    assert "--profile bare" in cli("submit", file, "--only", "b", "--dry-run").err


def test_params_counts_the_chosen_runs_and_repeats_the_choice(cli: Cli, tmp_path: Path) -> None:
    file = _file(tmp_path)
    done = cli("params", file, "--only", "b")
    assert done.code == ExitCode.OK
    assert "b: left out" in done.err
    assert "a: left out" not in done.err
    assert f"next: campaign submit {file} --only b --dry-run\n" in done.err


def test_of_a_campaign_that_is_no_file_no_run_is_chosen_silently(tmp_path: Path) -> None:
    built = CampaignSpec(campaign="c", runs={"a": spec(), "b": spec()})
    with pytest.raises(SpecErrors, match="among the runs of a file"):
        Client(tmp_path / "runs").plan(built, only=("a",))
