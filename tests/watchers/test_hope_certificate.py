"""Certificates of a HOPE training, from the points and the evidence that recorded trainings wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from specs.load import load
from specs.run import RunSpec

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("curves") / "hope.jsonl"
COUNT, RATIO = "grad/non_finite", "grad/block_ratio"


@cache
def recorded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RECORD.read_text().splitlines()]


@cache
def published() -> RunSpec:
    return load(ROOT / "specs" / "hope_phases.yaml").spec.runs["p1"]


def rules(**gradient: Any) -> list[dict[str, Any]]:
    """Those of the specification, with other fields in its rule `gradient`.

    Without `jump_stuck`: its points are counted for the phases of that run, and it takes nothing back.
    """
    watch = [rule for rule in published().watch if rule.name != "jump_stuck"]
    dumped = [rule.model_dump(mode="json", exclude_defaults=True) for rule in watch]
    return [{**rule, **(gradient if rule["rule"] == "gradient" else {})} for rule in dumped]


def watched(
    tools: tuple[Any, Any, Any, Path],
    run: str,
    watch: list[dict[str, Any]],
    *,
    every: int = 1,
    evidence: Mapping[int, Mapping[str, Any]] | None = None,
    **certify: Any,
) -> Any:
    """The attempt after its last line; gradients are logged in steps that ``every`` divides."""
    build, killer, clock, directory = tools
    given = published().certify.model_dump(mode="json") | certify
    attempt = build.Attempt(root=directory / run, watch=watch, certify=given)
    watcher = build.watcher(killer, clock, attempt)
    mine = [entry for entry in recorded() if entry["run"] == run]
    for step in sorted({entry["step"] for entry in mine}):
        for entry in (entry for entry in mine if entry["step"] == step):
            if "evidence" in entry:
                changed = {} if evidence is None else evidence.get(step, {})
                attempt.checkpoint(step, {**entry["evidence"], **changed}, finite=entry["finite"])
            elif RATIO not in entry["m"] or step % every == 0:
                attempt.log(step, entry["m"])
        clock.forward(2.0)  # past the pause between two looks at the checkpoints
        build.drain(watcher)
    attempt.leave()
    build.drain(watcher)
    return attempt


@pytest.fixture
def tools(build: Any, killer: Any, clock: Any, tmp_path: Path) -> tuple[Any, Any, Any, Path]:
    return build, killer, clock, tmp_path


def steps(attempt: Any, kind: str) -> list[int]:
    return [line["checkpoint_step"] for line in attempt.of(kind)]


def explained(attempt: Any, step: int) -> str:
    progress = json.loads(attempt.files.progress.read_text())
    reason: str = progress["checkpoints"][str(step)]["reason"]
    return reason


@pytest.mark.parametrize("run", ["calm", "hot"])
def test_by_the_published_bands_every_checkpoint_with_two_evaluations_after_it_is_certified(
    tools: Any, run: str
) -> None:
    attempt = watched(tools, run, rules())
    assert set(published().certify.bands) == {RATIO, COUNT}
    assert steps(attempt, "certified") == [10, 20, 30, 40, 50]
    assert attempt.of("alert") == []
    assert "needs 2 more healthy evaluations" in explained(attempt, 60)


def test_a_count_of_zero_tensors_is_in_band_and_a_count_of_one_is_not(tools: Any) -> None:
    attempt = watched(tools, "calm", rules(), evidence={20: {COUNT: 1.0}})
    assert steps(attempt, "certified") == [10, 30, 40, 50]
    assert explained(attempt, 20) == f"{COUNT} is 1 in its evidence and must be at most 0"


@pytest.mark.parametrize("ratio", [100.5, "NaN", "Infinity"])
def test_a_checkpoint_whose_own_gradient_is_amplified_or_no_number_is_not_certified(
    tools: Any, ratio: float | str
) -> None:
    attempt = watched(tools, "calm", rules(), evidence={20: {RATIO: ratio}})
    assert steps(attempt, "certified") == [10, 30, 40, 50]
    assert "and must be at most 100" in explained(attempt, 20)


def test_an_alarm_of_gradient_takes_what_lies_in_its_window_and_nothing_before_it(
    tools: Any,
) -> None:
    """Its ratio is 1.97 at step 30, 2.20 at step 40, and above 2.1 in every tenth step from there on."""
    watch = rules(ratio_above=2.1, for_points=1)
    attempt = watched(tools, "hot", watch, every=10, evaluations=1)
    assert steps(attempt, "certified") == [10, 20, 30]
    assert steps(attempt, "revoked") == [30]
    assert steps(attempt, "quarantined") == [40, 50, 60]
    [alert] = attempt.of("alert")
    assert (alert["rule"], alert["metric"], alert["step"], alert["onset"]) == (
        "gradient",
        RATIO,
        40,
        30,
    )
    assert explained(attempt, 30).startswith("taken back: rule gradient, onset step 30")


def test_the_same_alarm_kills_where_the_rule_says_so(tools: Any, killer: Any) -> None:
    watch = rules(ratio_above=2.1, for_points=1, action="kill")
    watched(tools, "hot", watch, every=10, evaluations=1)
    [order] = killer.orders
    assert (order["action"], order["rule"]) == ("stop", "gradient")
