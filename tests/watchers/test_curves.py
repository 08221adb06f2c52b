"""The judgement of recorded trainings: where the bad ones are caught, and that the good ones live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from specs.files import MetricLine, parse_metric_line
from specs.watch import AnyRule, Certify, Rule
from watchers.certify import Checkpoint, Standing
from watchers.findings import Finding, Kind
from watchers.judgement import Judgement, begin, finish, take_checkpoints, take_line

CURVES = Path(__file__).with_name("curves")
RULES: TypeAdapter[Rule] = TypeAdapter(AnyRule)
BLOW_UP: dict[str, Any] = {
    "name": "blow_up",
    "rule": "divergence",
    "metric": "val/ce",
    "above_best_by": 0.5,
    "for_points": 2,
    "action": "rollback",
}
SURVIVORS = [
    "cpu_resreg_jacreg",
    "damping1_bptt",
    "damping1_recipe",
    "damping1_selfblock",
    "damping1_stiff",
    "damping2_bptt",
    "damping2_recipe",
    "damping2_selfblock",
    "hinge_seed0",
    "hinge_seed1",
    "hinge_seed2",
]


def curve(name: str) -> list[MetricLine]:
    lines = (CURVES / f"{name}.jsonl").read_bytes().splitlines()
    parsed = [parse_metric_line(line) for line in lines]
    assert None not in parsed
    return [line for line in parsed if line is not None]


def judged(
    name: str, *rules: dict[str, Any], certify: Certify | None = None, checkpoints: bool = False
) -> tuple[Judgement, list[Finding]]:
    judgement = begin(tuple(RULES.validate_python(r) for r in rules), certify or Certify())
    findings: list[Finding] = []
    for line in curve(name):
        judgement, found = take_line(judgement, line)
        findings += found
        if checkpoints:
            evidence = Checkpoint(step=line.step, finite=True, metrics=line.metrics)
            judgement, found = take_checkpoints(judgement, [evidence])
            findings += found
    judgement, found = finish(judgement)
    return judgement, findings + found


def verdicts(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if f.kind is Kind.VERDICT]


@pytest.mark.parametrize(
    ("name", "step", "onset", "value"),
    [
        ("cpu_plain", 800, 400, 3.310),
        ("damping1_resreg", 1000, 200, float("nan")),
        ("damping1_plain", 800, 200, float("nan")),
        ("damping2_plain", 1884, 200, 3.64),
        ("damping2_selfblock_weak", 600, 200, float("nan")),
        ("cpu_warm_seed1", 700, 500, float("nan")),
    ],
)
def test_a_recorded_blow_up_is_judged_divergent_from_its_best_step_on(
    name: str, step: int, onset: int, value: float
) -> None:
    [verdict] = verdicts(judged(name, BLOW_UP)[1])
    assert (verdict.step, verdict.onset, verdict.end) == (step, onset, step)
    assert verdict.value == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("name", SURVIVORS)
@pytest.mark.parametrize("for_points", [1, 2])
def test_a_survivor_is_never_judged_divergent(name: str, for_points: int) -> None:
    rules = ({**BLOW_UP, "for_points": for_points}, {"rule": "non_finite", "action": "kill"})
    assert verdicts(judged(name, *rules)[1]) == []


def test_a_single_spike_is_no_divergence_but_the_same_spike_is_one_for_an_impatient_rule() -> None:
    assert verdicts(judged("cpu_warm_seed0", BLOW_UP)[1]) == []
    [first] = verdicts(judged("cpu_warm_seed0", {**BLOW_UP, "for_points": 1})[1])
    assert (first.step, first.onset) == (300, 200)


def test_a_curve_that_ends_in_one_nan_is_caught_by_non_finite() -> None:
    assert verdicts(judged("hinge_weak", BLOW_UP)[1]) == []
    [verdict] = verdicts(judged("hinge_weak", {"rule": "non_finite", "action": "kill"})[1])
    assert (verdict.metric, verdict.step, verdict.onset) == ("val/ce", 1000, 800)


def test_of_a_blow_up_only_the_checkpoints_before_its_onset_stay_certified() -> None:
    judgement, _ = judged("cpu_plain", BLOW_UP, checkpoints=True)
    standings = {step: judged.standing for step, judged in judgement.checkpoints.items()}
    assert standings == {
        100: Standing.CERTIFIED,
        300: Standing.CERTIFIED,
        400: Standing.REVOKED,
        500: Standing.QUARANTINED,
        600: Standing.QUARANTINED,
        700: Standing.QUARANTINED,
        800: Standing.QUARANTINED,
    }


def test_a_band_on_the_residual_sees_the_blow_up_coming() -> None:
    banded = Certify.model_validate({"bands": {"residual/T1": {"below": 0.05}}})
    judgement, findings = judged("cpu_plain", BLOW_UP, certify=banded, checkpoints=True)
    certified = [f.checkpoint_step for f in findings if f.kind is Kind.CERTIFIED]
    assert certified == [100]  # 300 and 500 have no residual, and at 500 it is out of band
    assert "residual/T1" in judgement.explain(300)


@pytest.mark.parametrize("name", SURVIVORS)
def test_of_a_survivor_every_checkpoint_with_enough_evaluations_after_it_is_certified(
    name: str,
) -> None:
    judgement, findings = judged(name, BLOW_UP, checkpoints=True)
    steps = sorted(judgement.checkpoints)
    assert [f.checkpoint_step for f in findings if f.kind is Kind.CERTIFIED] == steps[:-2]
