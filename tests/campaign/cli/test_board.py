"""Laws of the table of runs."""

from __future__ import annotations

from typing import Any

import pytest

from campaign.cli.board import board
from campaign.rows import RunRow


def table(*runs: RunRow) -> list[str]:
    return board(runs, width=None, colour=False)


def run(name: str, **facts: Any) -> RunRow:
    cell = {"latest": 2.5, "latest_step": 20, "best": 2.25, "best_step": 10}
    known: dict[str, Any] = {
        "campaign": "c", "run": name, "status": "active", "result": None, "failure_class": None,
        "rule": None, "attempt": 1, "step": 20, "steps": None, "phase": None, "metric": "val/jump",
        "metrics": {"val/jump": cell}, "device": None, "reason": "", "eta": None,
        "exit_code": None, "changes": {},
    }  # fmt: skip
    return RunRow(**{**known, **facts})


def test_the_best_value_is_said_to_be_that_of_the_phase_where_a_run_has_phases() -> None:
    head, first, second = table(run("a", phase="scaling"), run("b"))
    assert "PHASE" in head.split()
    assert "BEST IN PHASE" in head
    assert "scaling" in first
    assert "scaling" not in second


def test_of_runs_without_phases_the_table_does_not_speak_of_them() -> None:
    (head, line) = table(run("a"))
    assert "PHASE" not in head
    assert "BEST" in head.split()
    assert line.split() == ["a", "active", "20", "2.5", "2.25", "1"]


@pytest.mark.parametrize("phase", [None, "scaling"])
def test_a_run_that_was_not_evaluated_has_no_best_value(phase: str | None) -> None:
    (_, line) = table(run("a", phase=phase, metrics={}))
    assert "2.25" not in line
