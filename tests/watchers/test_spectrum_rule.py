"""The rule `spectrum`: max Re mu above a bound, or a line that soon will be."""

from __future__ import annotations

import json
import math
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from specs.files import MetricLine
from specs.load import load
from specs.watch import Certify, SpectrumRule, rule_name
from watchers.judgement import begin, take_line
from watchers.rules import judge, metrics_of
from watchers.verdict import Decision, Moment, Phase, Verdict
from watchers.window import Window

NAN, INF = math.nan, math.inf
CURVES = Path(__file__).with_name("curves")
SPEC = Path(__file__).parents[2] / "specs" / "ep_hopf.yaml"


def spectrum(**fields: Any) -> SpectrumRule:
    return SpectrumRule.model_validate({"rule": "spectrum", "metric": "m", **fields})


def verdicts(rule: SpectrumRule, values: list[float], *, every: int = 10) -> list[Verdict]:
    """One verdict a point; the points lie at steps 10, 20, ..."""
    window, found = Window(keep=frozenset({"m"})), []
    for order, value in enumerate(values, start=1):
        line = MetricLine(t=0.0, step=every * order, metrics={"m": value})
        window = window.append(line)
        found.append(judge(rule, window, Moment(now=0.0)))
    return found


def fired(rule: SpectrumRule, values: list[float]) -> list[int | None]:
    return [v.step for v in verdicts(rule, values) if v.action is not Decision.CONTINUE]


def ramp(start: float, slope: float, count: int) -> list[float]:
    """``slope`` is that of one step; points are ten steps apart."""
    return [start + slope * 10 * i for i in range(count)]


@pytest.mark.parametrize(
    ("rule", "values", "steps"),
    [
        (spectrum(), [-0.5, 0.1, 0.2, 0.3], [20]),
        (spectrum(), [-0.5, 0.0, 0.0], []),
        (spectrum(above=-0.3), [-0.5, -0.2], [20]),
        (spectrum(), [0.1, -0.1, 0.1], [10, 30]),
        (spectrum(for_points=2), [0.1, -0.1, 0.1, 0.1, 0.1], [40]),
        (spectrum(for_points=2), [0.1, NAN, 0.1, NAN, 0.1], [30]),
        (spectrum(), [INF], [10]),
        (spectrum(), [NAN, -INF], []),
        (spectrum(after_step=30), [0.1, 0.1, -0.1, 0.2], [40]),
    ],
    ids=[
        "once per crossing",
        "the bound is not above itself",
        "another bound",
        "again after it has left",
        "only points in a row count",
        "a NaN is on neither side and does not break the row",
        "infinity is above",
        "what is no number, or below, is not",
        "earlier points are not judged",
    ],
)
def test_above_the_bound(rule: SpectrumRule, values: list[float], steps: list[int]) -> None:
    assert fired(rule, values) == steps


@pytest.mark.parametrize(
    ("rule", "values", "steps"),
    [
        (spectrum(within_steps=100, for_points=11), ramp(-0.499, 0.002, 30), [160]),
        (spectrum(within_steps=100, for_points=5), ramp(-0.499, 0.002, 30), [220]),
        (spectrum(within_steps=10, for_points=5), ramp(-0.499, 0.002, 30), [250]),
        (spectrum(within_steps=100, for_points=5), ramp(-0.5, -0.002, 30), []),
        (spectrum(within_steps=100, for_points=5), [0.3] * 4, []),
        (spectrum(within_steps=100, for_points=5), [0.3] * 6, [50]),
        (spectrum(within_steps=100, for_points=5), ramp(0.5, -0.001, 20), [50]),
        (spectrum(within_steps=100, for_points=3), [-0.5, NAN, -0.3, INF, -0.1, 0.0], [50]),
        (spectrum(within_steps=100, for_points=5, after_step=200), ramp(-0.499, 0.002, 30), [240]),
        (spectrum(within_steps=100, above=-0.2, for_points=5), ramp(-0.499, 0.002, 30), [120]),
    ],
    ids=[
        "a hundred steps before the crossing at 259.5",
        "no earlier than the length of the line, 40 steps",
        "ten steps before it",
        "a falling line",
        "no line yet",
        "a line above the bound needs no rise",
        "nor does a falling one that is still above",
        "a line is drawn through finite points",
        "earlier points draw no line",
        "another bound",
    ],
)
def test_a_forecast(rule: SpectrumRule, values: list[float], steps: list[int]) -> None:
    assert fired(rule, values) == steps


def test_a_jump_is_seen_at_once_although_the_line_is_still_low() -> None:
    assert fired(spectrum(within_steps=50, for_points=8), [-0.5] * 8 + [3.0, 5.0, 7.0]) != []


def test_noise_far_below_the_bound_is_no_forecast() -> None:
    draw = random.Random(0)
    calm = [-0.6 + draw.gauss(0, 0.05) for _ in range(500)]
    assert fired(spectrum(within_steps=100), calm) == []


def test_a_rise_is_seen_through_noise_before_the_crossing() -> None:
    draw = random.Random(1)
    noisy = [value + draw.gauss(0, 0.05) for value in ramp(-0.6, 0.0005, 160)]
    first = fired(spectrum(within_steps=200, for_points=40), noisy)[0]
    assert first is not None
    assert 800 < first < 1200  # it crosses at 1210


@settings(deadline=None)
@given(
    st.floats(-1, -0.1),
    st.floats(1e-3, 1e-2),
    st.integers(3, 12),
    st.integers(1, 500),
)
def test_a_steady_rise_is_foretold_by_no_more_than_was_asked(
    start: float, slope: float, points: int, within: int
) -> None:
    crossing = -start / slope  # after the first point, at step 10
    values = ramp(start, slope, int(crossing / 10) + 2)
    rule = spectrum(within_steps=within, for_points=points)
    for verdict in verdicts(rule, values):
        if verdict.action is not Decision.CONTINUE:
            assert verdict.step is not None
            left = 10 + crossing - verdict.step
            ahead = min(within, 10 * (points - 1))
            assert left <= ahead + 1e-6
            assert left > ahead - 10 - 1e-6 or verdict.step == 10 * points


@settings(deadline=None)
@given(
    st.lists(st.floats(-1, 1) | st.sampled_from([NAN, INF, -INF, 1e300, -1e300]), max_size=30),
    st.booleans(),
    st.integers(3, 6),
)
def test_it_never_fires_twice_without_a_point_at_which_it_does_not_hold(
    values: list[float], forecast: bool, points: int
) -> None:
    rule = spectrum(for_points=points, action="kill", **({"within_steps": 50} if forecast else {}))
    armed = True
    for verdict in verdicts(rule, values):
        if verdict.action is not Decision.CONTINUE:
            assert armed
            armed = False
            json.dumps(dict(verdict.evidence), allow_nan=False)
        armed = armed or verdict.phase is not Phase.ALARM


def test_above_the_bound_is_an_alarm_whatever_the_action() -> None:
    found = verdicts(spectrum(for_points=2), [-0.5, 0.1, 0.2, 0.3, -0.1])
    assert [v.phase for v in found] == [
        Phase.CALM, Phase.SUSPECT, Phase.ALARM, Phase.ALARM, Phase.CALM,
    ]  # fmt: skip
    assert (found[2].onset, found[2].end, found[2].value) == (10, 30, 0.2)
    assert found[2].reason == "m was above 0 for 2 points in a row: 0.1 at step 20, 0.2 at step 30"


def test_a_forecast_says_nothing_about_the_health_of_what_is_there() -> None:
    found = verdicts(spectrum(within_steps=100), ramp(-0.499, 0.002, 30))
    assert {v.phase for v in found} == {Phase.CALM}
    (verdict,) = [v for v in found if v.action is Decision.ALERT]
    assert (verdict.onset, verdict.end) == (None, None)


def test_a_forecast_that_rolls_back_does_so_to_before_the_lowest_point_of_its_line() -> None:
    values = [-0.5, -0.52, -0.6, *ramp(-0.55, 0.02, 8)]
    rule = spectrum(within_steps=100, for_points=5, action="rollback")
    (verdict,) = [v for v in verdicts(rule, values) if v.action is Decision.ROLLBACK]
    assert verdict.phase is Phase.ALARM
    assert (verdict.onset, verdict.end) == (30, verdict.step)


def test_a_forecast_tells_its_numbers() -> None:
    rule = spectrum(within_steps=100, for_points=11)
    (verdict,) = [
        v for v in verdicts(rule, ramp(-0.499, 0.002, 30)) if v.action is not Decision.CONTINUE
    ]
    assert verdict.reason == (
        "m rises by 0.2 in 100 steps, by a line through 11 points from step 60: "
        "-0.199 at step 160, above 0 from step 260 on"
    )
    evidence = verdict.evidence
    assert evidence["slope_per_step"] == pytest.approx(0.002)
    assert evidence["crossing_step"] == 260
    assert [step for step, _ in evidence["points"]] == [*range(60, 170, 10)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("points", [1, 2])
def test_a_line_through_fewer_than_three_points_is_refused(points: int) -> None:
    with pytest.raises(ValidationError, match="at least 3"):
        spectrum(within_steps=100, for_points=points)


def test_by_default_it_judges_the_exact_spectrum_against_zero() -> None:
    rule = SpectrumRule(rule="spectrum")
    assert (metrics_of(rule), rule.above, rule.points) == ({"spectrum/max_re_mu"}, 0.0, 1)
    assert rule_name(rule) == "spectrum"
    assert rule_name(spectrum(metric="spectrum/estimate")) == "spectrum.spectrum.estimate"


@cache
def recorded(file: str = "spectrum") -> dict[tuple[str, int], list[Any]]:
    """(run, seed) -> points [step, estimate of max Re mu, residual at T1, loss]."""
    lines = (json.loads(line) for line in (CURVES / f"{file}.jsonl").read_text().splitlines())
    return {(line["run"], line["seed"]): line["points"] for line in lines}


def alerts(run: tuple[str, int], rule: SpectrumRule, file: str = "spectrum") -> list[int]:
    """The steps at which a watcher with this rule alone would have told somebody."""
    judgement, steps = begin((rule,), Certify()), []
    for step, mu, *_ in recorded(file)[run]:
        line = MetricLine(t=float(step), step=step, metrics={"spectrum/estimate": mu})
        judgement, found = take_line(judgement, line)
        steps += [finding.step for finding in found if finding.rule == rule_name(rule)]
    return [step for step in steps if step is not None]


EARLY = SpectrumRule(rule="spectrum", metric="spectrum/estimate", within_steps=100, after_step=100)
UNSTABLE = ("plain_scratch", "ep_plain_warm")


@pytest.mark.parametrize("run", [run for run in recorded() if run[0] in UNSTABLE], ids=str)
def test_a_recorded_blow_up_is_foretold_before_its_residual_leaves_its_band(
    run: tuple[str, int],
) -> None:
    """The early warning of specs/ep_hopf.yaml. A warm run is judged from its first step on."""
    rule = EARLY if run[0] == "plain_scratch" else EARLY.model_copy(update={"after_step": 0})
    left = (step for step, _, residual, _ in recorded()[run] if residual > 1e-2)
    assert alerts(run, rule)[0] <= next(left, math.inf)


@pytest.mark.parametrize("run", [run for run in recorded() if run[0] not in UNSTABLE], ids=str)
def test_a_recorded_training_with_the_hinge_is_left_alone_but_for_a_true_excursion(
    run: tuple[str, int],
) -> None:
    points = recorded()[run]
    above = {step for step, mu, *_ in points if step > 100 and mu > 0}
    for step in alerts(run, EARLY):
        assert above & set(range(step - 10, step + 1))
    assert len(alerts(run, EARLY)) <= 3


ON_A_GPU = "spectrum_h200"


@cache
def shipped(name: str) -> SpectrumRule:
    """A rule of the profile h200 of specs/ep_hopf.yaml."""
    text = f"defaults.trainer.data.path={SPEC}"  # any: it is not read
    watch = load(SPEC, profile="h200", sets=[text]).spec.runs["ep_plain"].watch
    return next(rule for rule in watch if isinstance(rule, SpectrumRule) and rule.name == name)


@pytest.mark.parametrize("name", ["re_mu_positive", "re_mu_rising"])
@pytest.mark.parametrize(
    "run", [run for run in recorded(ON_A_GPU) if run[0] != "ep_hinge"], ids=str
)
def test_at_c_256_every_blow_up_is_told_before_its_residual_leaves_its_band(
    run: tuple[str, int], name: str
) -> None:
    left = next(step for step, _, residual, _ in recorded(ON_A_GPU)[run] if residual > 1e-2)
    assert alerts(run, shipped(name), ON_A_GPU)[0] < left


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_c_256_five_thousand_steps_with_the_hinge_never_look_unstable(seed: int) -> None:
    assert alerts(("ep_hinge", seed), shipped("re_mu_positive"), ON_A_GPU) == []
