"""Laws of `campaign publish`: what is said was published is what was published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from campaign.api import Client
from campaign.errors import ExitCode
from specs.files import metric_line
from tests.campaign.cli.conftest import Cli
from watchers.mlflow_loop import Published


@pytest.fixture
def attempts(tmp_path: Path) -> Path:
    """Two attempts of a run with five points, and a torn line."""
    for number, steps in ((1, 3), (2, 2)):
        directory = tmp_path / "far" / "c" / "a" / f"attempt-{number}"
        directory.mkdir(parents=True)
        (directory / "spec.json").write_text("{}")
        lines = [metric_line(1.0, step, {"loss": 1.0}) for step in range(steps)]
        (directory / "metrics.jsonl").write_bytes(b"".join(lines) + b'{"t": 1')
    return tmp_path / "far"


def _answers(monkeypatch: pytest.MonkeyPatch, points: int, **left: str) -> None:
    answer = Published(points=points, left=left)
    monkeypatch.setattr(Client, "publish", lambda *_, **__: answer)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        (5, "published 5 points"),
        (1, "published 1 point"),
        (0, "nothing new: all 5 points of far were published before"),
    ],
)
def test_points_that_were_there_already_are_not_said_to_be_none(
    points: int, says: str, cli: Cli, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(monkeypatch, points)
    assert cli("publish", attempts.name).out == f"{says}\n"


def test_attempts_without_a_point_are_said_to_have_none(
    cli: Cli, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(monkeypatch, 0)
    for file in attempts.rglob("metrics.jsonl"):
        file.unlink()
    assert "have written no metric point" in cli("publish", attempts.name).out


def test_what_could_not_be_published_is_never_called_published_before(
    cli: Cli, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(monkeypatch, 0, MLflow="does not answer")
    done = cli("publish", attempts.name)
    assert (done.code, done.out) == (ExitCode.PARTLY_DONE, "published 0 points\n")
    assert "not published: MLflow: does not answer" in done.err


def test_in_json_both_numbers_are_given(
    cli: Cli, attempts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answers(monkeypatch, 2)
    (row,) = json.loads(cli("publish", attempts.name, "--json").out)["data"]
    assert row == {"points": 2, "in_files": 5, "left": {}}
