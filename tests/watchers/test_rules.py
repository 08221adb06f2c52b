from __future__ import annotations

import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from specs.files import MetricLine
from specs.watch import AnyRule, Divergence, GradientRule, NonFinite, Plateau, Rule, Silence
from watchers.rules import JUDGES, judge, metrics_of
from watchers.verdict import Decision, Moment, Phase, Verdict
from watchers.window import Window

NAN, INF = math.nan, math.inf
TIMELESS = Moment(now=0.0)
RULES: TypeAdapter[Rule] = TypeAdapter(AnyRule)


def rule_of(**fields: Any) -> Rule:
    return RULES.validate_python(fields)


def verdicts(rule: Rule, values: list[float], *, every: int = 100) -> list[Verdict]:
    """One verdict a point; the points lie at steps 100, 200, ..."""
    window, found = Window(keep=frozenset({"m"}) | metrics_of(rule)), []
    for order, value in enumerate(values, start=1):
        line = MetricLine(t=float(order), step=every * order, metrics={"m": value})
        window = window.append(line)
        found.append(judge(rule, window, TIMELESS))
    return found


def fired(rule: Rule, values: list[float]) -> list[int | None]:
    """The steps at which the rule asked for something."""
    return [v.step for v in verdicts(rule, values) if v.action is not Decision.CONTINUE]


def test_every_rule_that_users_can_write_has_its_judge() -> None:
    union = get_args(AnyRule)[0]
    assert set(get_args(union)) == set(JUDGES)


def threshold(**fields: Any) -> Rule:
    return rule_of(rule="threshold", metric="m", **fields)


@pytest.mark.parametrize(
    ("rule", "values", "steps"),
    [
        (threshold(above=1), [0.0, 2.0, 2.0, 2.0], [200]),
        (threshold(above=1), [1.0], []),
        (threshold(below=1), [2.0, 0.5, 2.0, 0.5], [200, 400]),
        (threshold(above=1, for_points=2), [2.0, 0.0, 2.0, 0.0, 2.0, 2.0, 2.0], [600]),
        (threshold(above=1, for_points=2), [2.0, NAN, 2.0, NAN, 2.0], [300]),
        (threshold(above=1), [2.0, NAN, 2.0], [100]),
        (threshold(above=1), [INF], [100]),
        (threshold(below=-1), [-INF], [100]),
    ],
    ids=[
        "once per crossing",
        "the bound is not beyond itself",
        "it fires again after it has left",
        "only points in a row count",
        "a NaN is on neither side and does not break the row",
        "a NaN does not re-arm it",
        "infinity is above",
        "minus infinity is below",
    ],
)
def test_threshold(rule: Rule, values: list[float], steps: list[int]) -> None:
    assert fired(rule, values) == steps


def test_only_a_threshold_that_kills_speaks_about_health() -> None:
    kill, goal = threshold(above=1, action="kill"), threshold(above=1)
    assert [v.phase for v in verdicts(kill, [0.0, 2.0, 2.0, 0.0])] == [
        Phase.CALM,
        Phase.ALARM,
        Phase.ALARM,
        Phase.CALM,
    ]
    assert {v.phase for v in verdicts(goal, [0.0, 2.0, 2.0, 0.0])} == {Phase.CALM}


@pytest.mark.parametrize(
    ("values", "onset"), [([0.0, 0.5, 2.0], 200), ([2.0], 100)], ids=["last good", "first step"]
)
def test_a_deadly_threshold_alarms_from_the_last_point_within_its_bound(
    values: list[float], onset: int
) -> None:
    verdict = verdicts(threshold(above=1, action="kill"), values)[-1]
    assert (verdict.onset, verdict.end) == (onset, 100 * len(values))


def divergence(**fields: Any) -> Rule:
    return rule_of(rule="divergence", metric="m", **{"above_best_by": 0.5, **fields})


@pytest.mark.parametrize(
    ("rule", "values", "steps"),
    [
        (divergence(), [2.0, 2.6, 2.6, 2.6], [300]),
        (divergence(), [2.0, 2.5, 2.5, 2.5], []),
        (divergence(), [2.0, 2.6, 2.0, 2.6], []),
        (divergence(), [2.0, NAN, 2.6], [300]),
        (divergence(), [2.0, INF, -INF], [300]),
        (divergence(), [NAN, NAN], [200]),
        (divergence(for_points=1), [2.0, 2.6, 2.0, 2.6], [200, 400]),
        (divergence(after_step=300), [1.0, 9.0, 9.0, 9.4, 9.6, 9.6], [600]),
    ],
    ids=[
        "after the second point in a row",
        "the margin itself is not above it",
        "one point is not a row",
        "a NaN counts as above",
        "infinities count as above, and never as the best",
        "no finite value at all",
        "again after it has recovered",
        "earlier points are not judged and not the best",
    ],
)
def test_divergence(rule: Rule, values: list[float], steps: list[int]) -> None:
    assert fired(rule, values) == steps


def test_the_onset_of_a_divergence_is_the_step_of_the_best_value() -> None:
    verdict = verdicts(divergence(), [2.4, 2.0, 2.2, 2.3, 2.6, 2.7])[-1]
    assert (verdict.onset, verdict.end, verdict.value) == (200, 600, 2.7)
    assert verdict.reason == (
        "m was above its best 2 (step 200) by more than 0.5 for 2 points in a row: "
        "2.6 at step 500, 2.7 at step 600"
    )


def non_finite(**fields: Any) -> Rule:
    return rule_of(rule="non_finite", **fields)


@pytest.mark.parametrize(
    ("rule", "values", "steps"),
    [
        (non_finite(metric="m"), [1.0, NAN, NAN, 1.0, INF], [200, 500]),
        (non_finite(metric="m", for_points=2), [NAN, 1.0, NAN, -INF], [400]),
        (non_finite(), [1.0, NAN], [200]),
        (non_finite(metric="other"), [NAN], []),
    ],
    ids=["once per crossing", "only in a row", "any metric", "another metric"],
)
def test_non_finite(rule: Rule, values: list[float], steps: list[int]) -> None:
    assert fired(rule, values) == steps


def test_non_finite_without_a_metric_is_one_alarm_until_all_are_finite_again() -> None:
    window, found = Window(keep=frozenset()), []
    rows = [{"a": 1.0, "b": 1.0}, {"a": NAN}, {"b": NAN}, {"a": 1.0}, {"b": 1.0}, {"b": NAN}]
    for step, metrics in enumerate(rows):
        window = window.append(MetricLine(t=float(step), step=step, metrics=metrics))
        found.append(judge(non_finite(), window, TIMELESS))
    assert [v.action is not Decision.CONTINUE for v in found] == [
        False, True, False, False, False, True,
    ]  # fmt: skip
    assert [v.phase for v in found][2:5] == [Phase.ALARM, Phase.ALARM, Phase.CALM]
    assert (found[1].onset, found[5].onset) == (0, 4)


def silent(moment: Moment, **fields: Any) -> Verdict:
    rule = Silence.model_validate({"rule": "silence", "for_seconds": "10s", **fields})
    return judge(rule, Window(keep=frozenset()), moment)


@pytest.mark.parametrize(
    ("moment", "action"),
    [
        (Moment(now=109.0, started=100.0, running=True), Decision.CONTINUE),
        (Moment(now=110.0, started=100.0, running=True), Decision.KILL),
        (Moment(now=110.0, started=100.0, heard=105.0, running=True), Decision.CONTINUE),
        (Moment(now=115.0, started=100.0, heard=105.0, running=True), Decision.KILL),
        (Moment(now=115.0, started=100.0, running=None), Decision.ALERT),
        (Moment(now=115.0, started=100.0, running=False), Decision.CONTINUE),
        (Moment(now=115.0, running=True), Decision.CONTINUE),
    ],
    ids=[
        "not long enough",
        "from the start",
        "from the newest line",
        "again from the newest line",
        "doubt is only an alert",
        "a dead trainer is not silent",
        "no start is known",
    ],
)
def test_silence(moment: Moment, action: Decision) -> None:
    assert silent(moment, action="kill").action is action


def test_silence_says_nothing_about_the_health_of_checkpoints() -> None:
    moment = Moment(now=115.0, started=100.0, running=True)
    assert silent(moment, action="kill").phase is Phase.CALM


def test_a_rollback_for_silence_may_go_to_the_newest_checkpoint_of_all() -> None:
    rule = Silence.model_validate({"rule": "silence", "for_seconds": 10, "action": "rollback"})
    window = Window(keep=frozenset()).append(MetricLine(t=0.0, step=70, metrics={"m": 1.0}))
    verdict = judge(rule, window, Moment(now=99.0, heard=0.0, running=True))
    assert (verdict.step, verdict.onset, verdict.end) == (70, 71, None)


def test_a_model_without_a_judge_is_refused() -> None:
    with pytest.raises(KeyError):
        judge(Rule(), Window(keep=frozenset()), TIMELESS)


def gradient_of(**fields: Any) -> Rule:
    return rule_of(rule="gradient", metric="m", ratio_above=1, **fields)


some_rules = st.one_of(
    st.builds(threshold, above=st.just(1), for_points=st.integers(1, 3), action=st.just("kill")),
    st.builds(threshold, below=st.just(1), for_points=st.integers(1, 3), action=st.just("kill")),
    st.builds(divergence, for_points=st.integers(1, 3), after_step=st.sampled_from([0, 300])),
    st.builds(non_finite, metric=st.sampled_from([None, "m"]), for_points=st.integers(1, 3)),
    st.builds(gradient_of, for_points=st.integers(1, 3)),
)
values = st.lists(st.sampled_from([0.0, 0.6, 1.5, 2.2, NAN, INF, -INF]), max_size=14)


@given(some_rules, values)
def test_no_rule_fires_twice_without_a_calm_point_between(rule: Rule, points: list[float]) -> None:
    armed = True
    for verdict in verdicts(rule, points):
        if verdict.action is not Decision.CONTINUE:
            assert armed
            armed = False
        armed = armed or verdict.phase is Phase.CALM


@given(some_rules, values)
def test_a_rule_fires_only_on_the_last_of_its_points_in_a_row(
    rule: Rule, points: list[float]
) -> None:
    found = verdicts(rule, points)
    for at, verdict in enumerate(found):
        if verdict.action is not Decision.CONTINUE:
            before = found[max(0, at - rule.for_points + 1) : at]
            assert len(before) == rule.for_points - 1 or NAN in points
            assert all(v.phase is Phase.SUSPECT for v in before if rule.for_points > 1)


@given(some_rules, values)
def test_a_verdict_is_a_function_of_the_window_alone(rule: Rule, points: list[float]) -> None:
    assert [repr(v) for v in verdicts(rule, points)] == [repr(v) for v in verdicts(rule, points)]


@given(st.floats(0.1, 2.0), st.floats(0.1, 2.0), values)
def test_a_wider_margin_never_alarms_at_a_point_where_a_narrower_one_is_calm(
    one: float, other: float, points: list[float]
) -> None:
    narrow, wide = sorted((one, other))
    tight = verdicts(divergence(above_best_by=narrow), points)
    loose = verdicts(divergence(above_best_by=wide), points)
    for a, b in zip(tight, loose, strict=True):
        assert not (a.phase is Phase.CALM and b.phase is not Phase.CALM)


def gradient(**fields: Any) -> Rule:
    return rule_of(rule="gradient", metric="m", **{"ratio_above": 10, **fields})


@pytest.mark.parametrize(
    ("rule", "values", "steps"),
    [
        (gradient(), [2.0, 11.0, 12.0, 2.0, 11.0], [200, 500]),
        (gradient(), [10.0], []),
        (gradient(for_points=2), [11.0, 2.0, 11.0, NAN, 11.0], [400]),
        (gradient(), [NAN], [100]),
        (gradient(), [INF], [100]),
    ],
    ids=[
        "once per crossing",
        "the bound is not above it",
        "only in a row",
        "a ratio that is no number is a broken gradient",
        "so is an infinite one",
    ],
)
def test_gradient(rule: Rule, values: list[float], steps: list[int]) -> None:
    assert fired(rule, values) == steps


def test_a_gradient_with_tensors_that_are_no_numbers_fires_whatever_its_ratio() -> None:
    window, found = Window(keep=frozenset({"m", "grad/non_finite"})), []
    for step, bad in enumerate([0.0, 0.0, 3.0, 0.0]):
        line = MetricLine(t=float(step), step=step, metrics={"m": 1.0, "grad/non_finite": bad})
        window = window.append(line)
        found.append(judge(gradient(), window, TIMELESS))
    assert [v.phase for v in found] == [Phase.CALM, Phase.CALM, Phase.ALARM, Phase.CALM]
    assert (found[2].onset, found[2].end) == (1, 2)
    assert "3 tensors" in found[2].reason


@pytest.mark.parametrize("count", [1.0, NAN, INF])
@pytest.mark.parametrize(
    "apart", [False, True], ids=["in one line", "in a line before the ratio's"]
)
def test_a_count_of_broken_tensors_of_the_same_step_makes_the_gradient_bad(
    count: float, apart: bool
) -> None:
    both = {"grad/non_finite": count, "m": 1.0}
    window = Window(keep=frozenset(both))
    for metrics in [{k: v} for k, v in both.items()] if apart else [both]:
        window = window.append(MetricLine(t=1.0, step=1, metrics=metrics))
    assert judge(gradient(), window, TIMELESS).action is Decision.ALERT


def test_the_alarm_of_a_gradient_that_was_never_well_begins_with_the_first_line() -> None:
    [first, *_] = verdicts(gradient(), [50.0, 60.0])
    assert (first.onset, first.end, first.step, first.value) == (100, 100, 100, 50.0)
    assert "m 50 (bound 10) at step 100" in first.reason


def test_a_gradient_is_suspect_until_its_row_is_complete() -> None:
    found = verdicts(gradient(for_points=2), [1.0, 11.0, 12.0, 13.0, 1.0])
    assert [v.phase for v in found] == [
        Phase.CALM,
        Phase.SUSPECT,
        Phase.ALARM,
        Phase.ALARM,
        Phase.CALM,
    ]
    assert (found[2].onset, found[2].end) == (100, 300)


@given(values, st.floats(1.0, 50.0), st.integers(1, 4))
def test_a_gradient_rule_alarms_exactly_where_its_last_points_all_lie_beyond_the_bound(
    points: list[float], bound: float, row: int
) -> None:
    for at, verdict in enumerate(verdicts(gradient(ratio_above=bound, for_points=row), points)):
        newest = points[max(0, at + 1 - row) : at + 1]
        beyond = len(newest) == row and all(not p <= bound for p in newest)
        assert (verdict.phase is Phase.ALARM) == beyond


def plateau(**fields: Any) -> Rule:
    return rule_of(rule="plateau", metric="m", **{"by": 0.1, "for_points": 3, **fields})


@pytest.mark.parametrize(
    ("rule", "values", "steps"),
    [
        (plateau(), [1.0, 0.99, 0.98, 0.97, 0.96], [400]),
        (plateau(), [1.0, 0.8, 0.6, 0.4, 0.2, 0.0], []),
        (plateau(), [1.0, 0.95, 0.93, 0.89, 0.84, 0.82], []),
        (plateau(), [1.0, 1.0, 1.0], []),
        (plateau(), [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5], [400, 800]),
        (plateau(), [0.5, 2.0, 0.9, 0.7], [400]),
        (plateau(), [1.0, NAN, INF, 1.0], [400]),
        (plateau(), [NAN] * 6, []),
        (plateau(after_step=300), [0.1, 0.1, 1.0, 0.9, 0.8, 0.7, 0.7], []),
    ],
    ids=[
        "once, on the point that completes the row",
        "what improves is none",
        "neither is what improves slowly, but enough within the row",
        "there must be a point before the row",
        "it fires again after it has moved on",
        "to come back to the best is no improvement",
        "what is no number is none",
        "a metric that never had a finite value is not judged",
        "earlier points are not the best",
    ],
)
def test_plateau(rule: Rule, values: list[float], steps: list[int]) -> None:
    assert fired(rule, values) == steps


def test_only_a_plateau_that_kills_speaks_about_health_and_begins_at_the_best_value() -> None:
    values = [1.0, 0.5, 0.6, 0.6, 0.6]
    assert {v.phase for v in verdicts(plateau(), values)} == {Phase.CALM}
    verdict = verdicts(plateau(action="kill"), values)[-1]
    assert (verdict.phase, verdict.onset, verdict.end) == (Phase.ALARM, 200, 500)


@given(values, st.integers(1, 4))
def test_a_plateau_never_fires_where_the_newest_point_is_lower_by_enough(
    points: list[float], row: int
) -> None:
    for at, verdict in enumerate(verdicts(plateau(for_points=row), points)):
        before = [p for p in points[: max(0, at + 1 - row)] if math.isfinite(p)]
        if before and math.isfinite(points[at]) and points[at] <= min(before) - 0.1:
            assert verdict.action is Decision.CONTINUE


def test_the_metrics_of_a_rule_are_those_it_names() -> None:
    assert metrics_of(divergence()) == {"m"}
    assert metrics_of(plateau()) == {"m"}
    assert metrics_of(gradient()) == {"m", "grad/non_finite"}
    assert metrics_of(non_finite()) == frozenset()
    assert metrics_of(Silence(rule="silence")) == frozenset()
    assert isinstance(divergence(), Divergence)


# ---------------------------------------------------------------- what is no matter of a rule

NANS_COUNT = (Divergence, NonFinite, GradientRule)
"""The rules that say a NaN is beyond every bound. (To a plateau it is one more point that is no best.)"""

every_rule = st.one_of(
    some_rules,
    st.builds(
        lambda above, points, action: rule_of(
            rule="spectrum", metric="m", above=above, for_points=points, action=action
        ),
        st.sampled_from([0.0, 1.0]),
        st.integers(1, 3),
        st.sampled_from(["alert", "kill"]),
    ),
    st.builds(
        lambda within: rule_of(rule="spectrum", metric="m", within_steps=within, for_points=3),
        st.integers(1, 500),
    ),
    st.builds(
        lambda points, action: rule_of(
            rule="plateau", metric="m", by=0.5, for_points=points, action=action
        ),
        st.integers(1, 3),
        st.sampled_from(["alert", "kill"]),
    ),
)


@given(every_rule, values)
def test_a_rule_asks_for_nothing_on_a_nan_unless_it_says_that_a_nan_counts(
    rule: Rule, points: list[float]
) -> None:
    for value, verdict in zip(points, verdicts(rule, points), strict=True):
        if math.isnan(value) and not isinstance(rule, (*NANS_COUNT, Plateau)):
            assert verdict.action is Decision.CONTINUE


@given(every_rule, st.integers(1, 14))
def test_a_curve_of_nothing_but_nan_alarms_only_the_rules_that_say_so(
    rule: Rule, count: int
) -> None:
    if not isinstance(rule, NANS_COUNT):
        assert fired(rule, [NAN] * count) == []


@given(every_rule, values, st.lists(st.sampled_from([0.0, 9.0, NAN, INF]), max_size=14))
def test_other_metrics_in_the_same_or_other_lines_change_no_verdict_of_a_named_one(
    rule: Rule, points: list[float], others: list[float]
) -> None:
    if isinstance(rule, NonFinite) and rule.metric is None:
        return
    window, among = Window(keep=frozenset({"m", "x"}) | metrics_of(rule)), []
    for order, value in enumerate(points, start=1):
        other = others[order % len(others)] if others else 0.0
        lines = [{"x": other}, {"m": value, "x": other}]
        for half, metrics in zip((-50, 0), lines, strict=True):
            line = MetricLine(t=float(order), step=100 * order + half, metrics=metrics)
            window = window.append(line)
            if "m" in metrics:
                among.append(judge(rule, window, TIMELESS))
            else:
                assert judge(rule, window, TIMELESS).action is Decision.CONTINUE
    alone = verdicts(rule, points)
    assert [(v.action, v.phase, v.step) for v in among] == [
        (v.action, v.phase, v.step) for v in alone
    ]


@given(every_rule, values)
def test_to_judge_the_same_window_again_gives_the_same_verdict(
    rule: Rule, points: list[float]
) -> None:
    window = Window(keep=frozenset({"m"}) | metrics_of(rule))
    for order, value in enumerate(points, start=1):
        window = window.append(MetricLine(t=float(order), step=order, metrics={"m": value}))
        assert repr(judge(rule, window, TIMELESS)) == repr(judge(rule, window, TIMELESS))


@given(every_rule, values)
def test_a_verdict_that_asks_for_something_names_its_point_and_its_window_ends_there(
    rule: Rule, points: list[float]
) -> None:
    for order, verdict in enumerate(verdicts(rule, points), start=1):
        if verdict.action is Decision.CONTINUE:
            continue
        assert verdict.step == 100 * order
        assert verdict.phase in (Phase.CALM, Phase.ALARM)
        bounded = verdict.phase is Phase.ALARM
        assert (verdict.onset is not None, verdict.end is not None) == (bounded, bounded)
        if verdict.onset is not None and verdict.end is not None:
            assert verdict.onset <= verdict.end == verdict.step
