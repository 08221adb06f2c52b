"""``submit --only RUN``: it is submitted alone, and said again in what to type next."""

from __future__ import annotations

import json
from pathlib import Path

from campaign.errors import ExitCode
from tests.campaign.cli.conftest import Cli


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
