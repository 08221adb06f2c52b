"""The demo's own rules, judged on ten recorded seeds of each of its runs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from specs.files import MetricLine
from specs.load import load
from specs.run import RunSpec
from watchers.certify import Checkpoint
from watchers.findings import Finding, Kind
from watchers.judgement import begin, finish, take_checkpoints, take_line

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("curves") / "laptop_seeds.jsonl"
RUN_OF = {
    "redx": "redx",
    "control": "ep_plain_warm",
    "rolled": "ep_plain_warm",
    "warm": "ep_resreg_warm",
    "scratch": "ep_rr_scratch",
    "bptt": "bptt_twin",
}
SEEDS = range(10)


@cache
def recorded() -> dict[tuple[str, int], list[Any]]:
    lines = (json.loads(line) for line in RECORD.read_text().splitlines())
    return {(line["phase"], line["seed"]): line["points"] for line in lines}


@cache
def runs() -> dict[str, RunSpec]:
    return dict(load(ROOT / "specs" / "ep_resreg.yaml", profile="laptop").spec.runs)


def judge(phase: str, seed: int) -> list[Finding]:
    """What the watcher would have said of one recorded run, in order."""
    spec = runs()[RUN_OF[phase]]
    judgement = begin(spec.watch, spec.certify)
    said: list[Finding] = []
    for step, ce, residual, refined, mu, mu_ema in recorded()[phase, seed]:
        metrics = {"val/ce": ce, "residual/T1": residual}
        judgement, found = take_line(
            judgement, MetricLine(t=float(step), step=step, metrics=metrics)
        )
        said += found
        if mu is not None:
            evidence = {
                "residual/refined": refined,
                "spectrum/max_re_mu": mu,
                "spectrum/max_re_mu_ema": mu_ema,
            }
            checkpoint = Checkpoint(step=step, finite=True, metrics=evidence)
            judgement, found = take_checkpoints(judgement, [checkpoint])
            said += found
    judgement, found = finish(judgement)
    return said + list(found)


def verdicts(said: list[Finding]) -> list[Finding]:
    return [finding for finding in said if finding.kind is Kind.VERDICT]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_control_is_rolled_back_by_its_own_rule_with_the_numbers(seed: int) -> None:
    (verdict,) = verdicts(judge("control", seed))
    assert verdict.action is not None
    assert (verdict.rule, str(verdict.action)) == ("blow_up", "rollback")
    assert verdict.onset is not None
    steps = [point[0] for point in recorded()["control", seed]]
    best = min(recorded()["control", seed], key=lambda point: point[1])[0]
    assert verdict.onset == best
    assert verdict.step == steps[-1], "the recording ends where the rule fires"


@pytest.mark.parametrize("phase", ["redx", "rolled", "warm", "scratch", "bptt"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_survivor_is_ever_stopped(phase: str, seed: int) -> None:
    assert verdicts(judge(phase, seed)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_every_start_of_the_warm_runs_is_certified_late_in_its_training(seed: int) -> None:
    certified = [f.checkpoint_step for f in judge("redx", seed) if f.kind is Kind.CERTIFIED]
    assert certified and certified[-1] == 250


@pytest.mark.parametrize("seed", SEEDS)
def test_no_checkpoint_from_the_onset_on_stays_certified(seed: int) -> None:
    said = judge("control", seed)
    onset = verdicts(said)[0].onset
    assert onset is not None
    certified = {f.checkpoint_step for f in said if f.kind is Kind.CERTIFIED}
    revoked = {f.checkpoint_step for f in said if f.kind is Kind.REVOKED}
    assert all(step is not None and step < onset for step in certified - revoked)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_alerts_of_the_demo_fire_in_every_seed(seed: int) -> None:
    for phase, names in (
        ("redx", {"ce_below_2.50"}),
        ("scratch", {"ce_below_2.50", "ce_below_2.25"}),
    ):
        assert names <= {f.rule for f in judge(phase, seed) if f.kind is Kind.ALERT}
