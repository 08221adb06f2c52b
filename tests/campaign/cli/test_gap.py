"""Laws of `campaign gap`: the documented numbers, both modes, task by task, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from campaign.errors import ExitCode
from campaign.home import Home
from tests.campaign.cli.conftest import Cli
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec

TASKS = ("base", "scaling", "dissipation", "discretization", "kinematics", "compositional_ood")
LOWER = (0.4401, 0.3990, 0.3771, 0.3917, 0.3076, 0.3167)
UPPER = (0.2502, 0.2437, 0.2491, 0.2818, 0.2581, 0.3364)
P1 = (0.4359, 0.4077, 0.3966, 0.4172, 0.3507, 0.3666)
"""Last rows of the documents' lower bound, joint run and first phase."""


def measured(row: tuple[float, ...], mode: str = "on", **whole: float) -> dict[str, float]:
    """The newest metrics of a protocol that is over."""
    start = f"continual/{mode}/"
    errors = {f"{start}error/{task}": value for task, value in zip(TASKS, row, strict=False)}
    average = sum(row) / len(row)
    return {**errors, f"{start}avg_error": average, **{start + n: v for n, v in whole.items()}}


def filled(tmp_path: Path, **metrics: Mapping[str, float]) -> None:
    """./runs with campaign c, a run for each of ``metrics``."""
    world = World(**{run: spec() for run in metrics})
    for run in metrics:  # there are not devices for all of them at once
        world.tick()
        world.exits(run, 0)
    world.tick()
    fill(Home(root=tmp_path / "runs"), world, **metrics)


def documented() -> dict[str, dict[str, float]]:
    return {
        "vit": measured(LOWER, forgetting=0.0856, plasticity=0.3007),
        "joint": measured(UPPER),
        "p1": measured(P1, forgetting=0.0554, plasticity=0.3497),
    }


def test_the_first_phase_has_closed_what_the_documents_numbers_say(
    cli: Cli, tmp_path: Path
) -> None:
    filled(tmp_path, **documented())
    done = cli("gap", "p1", "--lower", "vit", "--upper", "c/joint", "--json")
    assert done.code == ExitCode.OK, done.err
    rows = {row["run"]: row for row in json.loads(done.out)["data"]}
    assert list(rows) == ["c/vit", "c/p1", "c/joint"]
    assert [row["bound"] for row in rows.values()] == ["lower", "", "upper"]
    assert rows["c/p1"]["avg_error"] == pytest.approx(0.3958, abs=5e-5)
    assert rows["c/p1"]["gap"] == pytest.approx(-23.3, abs=0.05)
    assert (rows["c/vit"]["gap"], rows["c/joint"]["gap"]) == (0, pytest.approx(100))
    assert rows["c/p1"]["forgetting"] == 0.0554
    assert rows["c/joint"]["forgetting"] is None
    base = (LOWER[0] - P1[0]) / (LOWER[0] - UPPER[0]) * 100
    assert rows["c/p1"]["gap_by_task"]["base"] == pytest.approx(base)
    assert rows["c/p1"]["error_by_task"] == dict(zip(TASKS, P1, strict=True))


def test_the_table_has_all_tasks_together_and_each_alone(cli: Cli, tmp_path: Path) -> None:
    filled(tmp_path, **documented())
    lines = cli("gap", "p1", "--lower", "vit", "--upper", "joint").out.splitlines()
    assert lines[0].split() == ["RUN", "WRITES", "AVG", "ERROR", "FORGETTING", "PLASTICITY", "GAP", "CLOSED"]  # fmt: skip
    assert [line.split()[0] for line in lines[1:4]] == ["c/vit", "c/p1", "c/joint"]
    assert lines[2].split() == ["c/p1", "on", "0.3958", "0.0554", "0.3497", "-23.3", "%"]
    (alone,) = lines[lines.index("gap closed, task by task") + 2 :]
    assert alone.split()[:4] == ["c/p1", "on", "2.2", "%"]


def test_bounds_alone_have_no_table_of_tasks(cli: Cli, tmp_path: Path) -> None:
    filled(tmp_path, **documented())
    out = cli("gap", "vit", "--lower", "vit", "--upper", "joint").out
    assert "lower bound" in out
    assert "task by task" not in out


def test_each_mode_that_all_were_judged_in_has_its_rows(cli: Cli, tmp_path: Path) -> None:
    both = {
        "vit": measured(LOWER) | measured(LOWER, "off"),
        "joint": measured(UPPER) | measured(UPPER, "off"),
        "p1": measured(P1) | measured(LOWER, "off"),
        "once": measured(P1),
    }
    filled(tmp_path, **both)
    bounds = ("--lower", "vit", "--upper", "joint", "--json")
    rows = json.loads(cli("gap", "p1", *bounds).out)["data"]
    assert [(r["mode"], r["run"]) for r in rows if not r["bound"]] == [
        ("on", "c/p1"),
        ("off", "c/p1"),
    ]
    assert [r["gap"] for r in rows if r["mode"] == "off"] == [0, 0, pytest.approx(100)]
    rows = json.loads(cli("gap", "p1", "once", *bounds).out)["data"]
    assert {r["mode"] for r in rows} == {"on"}


@pytest.mark.parametrize(
    ("run", "metrics", "says"),
    [
        ("young", {"continual/on/error/base": 0.4}, "c/young (succeeded) has no metric continual/on/avg_error"),
        ("plain", {"val/ce": 2.0}, "c/plain (succeeded) has no metric continual/on/avg_error"),
        ("less", measured(P1[:3]), "different tasks (writes on):"),
        ("other", measured(P1, "off"), "no common mode of eval_writes"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_by_name(
    cli: Cli, tmp_path: Path, run: str, metrics: dict[str, float], says: str
) -> None:
    filled(tmp_path, **documented(), **{run: metrics})
    done = cli("gap", run, "--lower", "vit", "--upper", "joint")
    assert (done.code, done.out) == (ExitCode.WRONG_STATE, "")
    assert says in done.err
    assert f"c/{run}" in done.err


def test_bounds_that_are_equal_leave_no_gap(cli: Cli, tmp_path: Path) -> None:
    filled(tmp_path, **documented())
    done = cli("gap", "p1", "--lower", "vit", "--upper", "vit")
    assert done.code == ExitCode.WRONG_STATE
    assert "there is no gap to close" in done.err


def test_a_run_that_is_not_there_is_named(cli: Cli, tmp_path: Path) -> None:
    filled(tmp_path, **documented())
    done = cli("gap", "p7", "--lower", "vit", "--upper", "joint")
    assert done.code == ExitCode.NOT_FOUND
    assert "there is no run p7" in done.err
