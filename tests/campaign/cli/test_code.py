"""Laws of the code of a run: submitted from a changed tree, each attempt has the difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.home import Home
from specs.files import AttemptFiles, read_json
from tests.campaign.cli.conftest import Cli, campaign_file
from tests.campaign.repos import git, repository, write

READS = """
import os, pathlib
attempt = pathlib.Path(os.environ["CAMPAIGN_METRICS"]).parent
assert (attempt / "code" / "diff.patch").read_text()
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a repository in which a file was changed."""
    root = repository(tmp_path / "repo", **{"model.py": b"one\n"})
    write(root, "model.py", b"two\n")
    monkeypatch.chdir(root)
    return root


def test_a_submit_keeps_the_difference_before_any_attempt(repo: Path, cli: Cli) -> None:
    file = campaign_file(repo, "d", a={})
    assert cli("submit", file, "--no-start").code == 0
    (patch,) = (repo / "runs" / "code").iterdir()
    assert b"+two" in patch.read_bytes()
    assert "waits for a controller" in cli("show", "d/a").out


def test_a_plan_keeps_no_difference(repo: Path, cli: Cli) -> None:
    assert cli("submit", campaign_file(repo, "d"), "--dry-run").code == 0
    assert not (repo / "runs").exists()


@pytest.mark.heavy
def test_an_attempt_has_the_difference_before_it_runs_and_show_names_it(
    repo: Path, cli: Cli
) -> None:
    write(repo, "new.py", b"new\n")
    trainer = {"kind": "command", "argv": [sys.executable, "-c", READS]}
    campaign = {"campaign": "d", "runs": {"a": {"trainer": trainer}}}
    file = write(repo, "d.yaml", json.dumps(campaign).encode())
    done = subprocess.run(
        [sys.executable, "-m", "campaign.cli.main", "submit", str(file), "--debug"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    home = Home(root=repo / "runs")
    files = AttemptFiles(root=home.attempt("d", "a", 1))
    noted = read_json(files.code_git)
    assert noted is not None
    assert noted["commit"] == git(repo, "rev-parse", "HEAD").strip()
    assert noted["dirty"] is True
    assert set(noted["untracked"]) == {"new.py", "d.yaml"}
    shown = json.loads(cli("show", "d/a", "--json").out)["data"][0]["code"]
    assert shown["diff"] == str(files.code_patch)
    assert f"difference in {files.code_patch}" in cli("show", "d/a").out
