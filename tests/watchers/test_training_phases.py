"""Laws of the phases of a training: what is measured in one is no yardstick for the next."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from specs.files import MetricLine
from specs.watch import AnyRule, Certify, Rule
from watchers.certify import Checkpoint, Standing
from watchers.judgement import Judgement, begin, take_checkpoints, take_line
from watchers.progress import Progress
from watchers.rules import judge, metrics_of
from watchers.training_phases import REMEMBERED, TrainingPhases
from watchers.verdict import Decision, Moment, Verdict
from watchers.window import Series, Window

RULES: TypeAdapter[Rule] = TypeAdapter(AnyRule)
Lines = list[tuple[int, float, str | None]]
"""(step, value, phase) of one metric."""

RULE: dict[str, dict[str, Any]] = {
    "divergence": {"rule": "divergence", "metric": "m", "above_best_by": 0.5, "action": "kill"},
    "plateau": {"rule": "plateau", "metric": "m", "by": 0.1, "for_points": 2, "action": "kill"},
    "line": {"rule": "spectrum", "metric": "m", "above": 0.5, "within_steps": 50, "for_points": 3},
    "bound": {"rule": "threshold", "metric": "m", "above": 1.0, "for_points": 2, "action": "kill"},
    "spectrum": {"rule": "spectrum", "metric": "m", "above": 1.0, "for_points": 2},
    "gradient": {"rule": "gradient", "metric": "m", "ratio_above": 1.0, "for_points": 2},
    "non_finite": {"rule": "non_finite", "metric": "m", "for_points": 2},
}
FORGETTING = ("divergence", "plateau", "line")


def line(step: int, value: float, phase: str | None = None) -> MetricLine:
    return MetricLine(t=float(step), step=step, metrics={"m": value}, phase=phase)


def verdicts(fields: dict[str, Any], lines: Lines) -> list[Verdict]:
    rule = RULES.validate_python(fields)
    window, found = Window(keep=frozenset({"m"}) | metrics_of(rule)), []
    for one in lines:
        window = window.append(line(*one))
        found.append(judge(rule, window, Moment(now=0.0)))
    return found


def fired(fields: dict[str, Any], lines: Lines) -> list[int | None]:
    return [v.step for v in verdicts(fields, lines) if v.action is not Decision.CONTINUE]


@pytest.mark.parametrize(
    ("lines", "name", "since"),
    [
        ([], None, 0),
        ([(1, None), (2, None)], None, 0),
        ([(1, "a"), (2, "a")], "a", 1),
        ([(1, "a"), (2, None), (3, None)], "a", 1),
        ([(1, "a"), (5, "b"), (6, "b")], "b", 5),
        ([(1, None), (5, "b"), (6, None)], "b", 5),
        ([(1, "a"), (5, "b"), (4, None), (6, None)], "b", 5),
        ([(1, "a"), (5, "b"), (3, "a"), (4, "a")], "a", 1),
        ([(1, "a"), (5, "b"), (3, "a"), (7, "b")], "b", 7),
        ([(1, "a"), (5, "b"), (9, "a")], "a", 9),
        ([(5, "a"), (1, "a")], "a", 1),
    ],
    ids=[
        "nothing", "none is named", "one", "a line without a name goes on with it", "the next one",
        "named from some step on", "an earlier step without a name takes nothing back",
        "the trainer went back", "and came forward again", "a name that comes again is a new phase",
        "back to before the first",
    ],
)  # fmt: skip
def test_a_phase_begins_with_the_line_that_names_it(
    lines: list[tuple[int, str | None]], name: str | None, since: int
) -> None:
    phases = TrainingPhases()
    for step, named in lines:
        phases = phases.take(line(step, 0.0, named))
    assert (phases.name, phases.since) == (name, since)


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from([None, "a", "b"])), max_size=40))
def test_phases_lie_one_after_the_other_and_the_newest_named_line_is_in_the_last(
    lines: list[tuple[int, str | None]],
) -> None:
    phases = TrainingPhases()
    for step, named in lines:
        phases = phases.take(line(step, 0.0, named))
        if named is not None:
            assert phases.name == named
            assert phases.since <= step
    begun = [phase.step for phase in phases.begun]
    assert begun == sorted(set(begun))


def test_a_program_that_calls_every_step_a_phase_costs_no_more_than_the_last_few() -> None:
    phases = TrainingPhases()
    for step in range(10 * REMEMBERED):
        phases = phases.take(line(step, 0.0, str(step)))
    assert len(phases.begun) == REMEMBERED
    assert phases.since == 10 * REMEMBERED - 1


# ---------------------------------------------------------------- rules

JUMP: Lines = [(s, 1.0, "a") for s in (1, 2)] + [(s, 3.0, "b") for s in (3, 4, 5)]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("divergence", JUMP),
        ("plateau", [(1, 3.0, "a"), (2, 1.0, "a"), (3, 1.0, "a"), (4, 2.0, "b"), (5, 1.5, "b")]),
        ("line", [(10, 0.1, "a"), (20, 0.2, "a"), (30, 0.3, "b"), (40, 0.4, "b")]),
    ],
)
def test_a_change_of_task_is_no_alarm(name: str, lines: Lines) -> None:
    assert fired(RULE[name], lines) == []
    assert fired(RULE[name], [(step, value, None) for step, value, _ in lines]) != []


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("divergence", [2.0, 3.0, 3.0]),
        ("plateau", [2.0, 2.0, 2.0]),
        ("line", [0.2, 0.3, 0.4]),
    ],
)
def test_within_a_phase_a_rule_judges_as_if_the_phase_were_all_there_is(
    name: str, later: list[float]
) -> None:
    before: Lines = [(step, -step, "a") for step in (1, 2, 3)]
    phase: Lines = [(10 * (n + 1), value, "b") for n, value in enumerate(later)]
    alone = [(step, value, None) for step, value, _ in phase]
    assert fired(RULE[name], before + phase)[-1:] == fired(RULE[name], alone) != []


def test_a_blow_up_within_a_phase_begins_at_the_best_value_of_that_phase_and_names_it() -> None:
    lines: Lines = [(1, 0.1, "a"), (2, 3.0, "b"), (3, 2.0, "b"), (4, 4.0, "b"), (5, 4.0, "b")]
    verdict = verdicts(RULE["divergence"], lines)[-1]
    assert (verdict.action, verdict.onset) == (Decision.KILL, 3)
    assert "best 2 of phase b (step 3)" in verdict.reason
    assert verdict.evidence["phase"] == "b"


def test_a_phase_that_never_had_a_finite_value_diverged_from_its_first_step_on() -> None:
    lines: Lines = [(1, 0.1, "a"), (7, math.nan, "b"), (8, math.nan, "b")]
    verdict = verdicts(RULE["divergence"], lines)[-1]
    assert (verdict.action, verdict.onset) == (Decision.KILL, 7)


@pytest.mark.parametrize("name", sorted(set(RULE) - set(FORGETTING)))
def test_a_bound_holds_in_every_phase(name: str) -> None:
    bad = math.nan if name == "non_finite" else 2.0
    values = [(1, 0.5, "a"), (2, bad, "a"), (3, bad, "b"), (4, bad, "b")]
    assert fired(RULE[name], values) == [3]


points = st.lists(st.tuples(st.integers(0, 20), st.floats(width=16)), max_size=25)


@pytest.mark.parametrize("name", sorted(RULE))
@given(points)
def test_a_training_of_a_single_phase_is_judged_as_one_that_names_none(
    name: str, points: list[tuple[int, float]]
) -> None:
    named = verdicts(RULE[name], [(step, value, "a") for step, value in points])
    unnamed = verdicts(RULE[name], [(step, value, None) for step, value in points])
    assert [(v.action, v.phase, v.step) for v in named] == [
        (v.action, v.phase, v.step) for v in unnamed
    ]


@given(
    st.lists(st.tuples(st.integers(0, 15), st.floats(width=16), st.integers(0, 15)), max_size=40)
)
def test_a_best_value_is_the_same_however_often_and_from_wherever_it_was_asked_before(
    asked: list[tuple[int, float, int]],
) -> None:
    series = Series()
    for order, (step, value, since) in enumerate(asked):
        series = series.append(step, float(order), value)
        judged = [p for p in series if p.step >= since and math.isfinite(p.value)]
        assert series.best(since=since) == min(judged, key=lambda p: p.value, default=None)


# ---------------------------------------------------------------- certificates, progress


def begun() -> Judgement:
    rule = RULES.validate_python(RULE["divergence"])
    return begin((rule,), Certify(metric="m", evaluations=2))


def test_the_last_checkpoint_of_a_phase_is_certified_by_healthy_evaluations_of_the_next() -> None:
    judgement, _ = take_line(begun(), line(10, 0.2, "a"))
    judgement, _ = take_checkpoints(judgement, [Checkpoint(step=10, finite=True)])
    found = []
    for step, value in [(20, 5.0), (30, 4.5), (31, 4.4)]:
        judgement, findings = take_line(judgement, line(step, value, "b"))
        found += findings
    assert judgement.stopped_by is None
    assert judgement.checkpoints[10].standing is Standing.CERTIFIED
    assert [finding.checkpoint_step for finding in found] == [10]


def test_the_best_value_in_progress_is_that_of_the_phase_and_the_phase_is_named() -> None:
    progress = Progress()
    for one in JUMP:
        progress.take(line(*one))
    content = json.loads(progress.as_json(t=0.0, points=0, checkpoints={}))
    assert content["best"]["m"] == {"step": 3, "value": 3.0}
    assert content["phase"] == {"name": "b", "since": 3}


def test_a_best_value_stays_until_the_metric_is_measured_in_the_next_phase() -> None:
    progress = Progress()
    progress.take(line(1, 1.0, "a"))
    progress.take(MetricLine(t=2.0, step=2, metrics={"other": 1.0}, phase="b"))
    content = json.loads(progress.as_json(t=0.0, points=0, checkpoints={}))
    assert content["best"]["m"] == {"step": 1, "value": 1.0}
    progress.take(line(3, math.nan, "b"))
    content = json.loads(progress.as_json(t=0.0, points=0, checkpoints={}))
    assert "m" not in content["best"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [([(1, None)], None), ([(7, "b")], {"name": "b", "since": None})],
    ids=["none is named", "the attempt began within it"],
)
def test_progress_says_nothing_of_a_phase_that_it_does_not_know(
    lines: list[tuple[int, str | None]], expected: dict[str, Any] | None
) -> None:
    progress = Progress()
    for step, phase in lines:
        progress.take(line(step, 1.0, phase))
    assert json.loads(progress.as_json(t=0.0, points=0, checkpoints={}))["phase"] == expected
