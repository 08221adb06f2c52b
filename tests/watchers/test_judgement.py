from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from specs.files import MetricLine
from specs.watch import AnyRule, Certify, Rule
from watchers.certify import Checkpoint, Standing
from watchers.findings import Finding, Kind
from watchers.judgement import (
    Judgement,
    begin,
    finish,
    standings,
    take_checkpoints,
    take_line,
    take_silence,
)
from watchers.verdict import Moment

NAN = math.nan
RULES: TypeAdapter[Rule] = TypeAdapter(AnyRule)
BLOW_UP: dict[str, Any] = {
    "name": "blow_up",
    "rule": "divergence",
    "metric": "val/ce",
    "above_best_by": 0.5,
    "action": "kill",
}
NOT_FINITE: dict[str, Any] = {"name": "nan", "rule": "non_finite", "action": "rollback"}
ONE = Certify(evaluations=1)


def start(*rules: dict[str, Any], certify: Certify = ONE, **recorded: Any) -> Judgement:
    return begin(tuple(RULES.validate_python(rule) for rule in rules), certify, **recorded)


def line(step: int, t: float | None = None, **metrics: float) -> MetricLine:
    named = {name.replace("_", "/"): value for name, value in metrics.items()}
    return MetricLine(t=float(step) if t is None else t, step=step, metrics=named)


def run(judgement: Judgement, *happenings: Any) -> tuple[Judgement, list[Finding]]:
    """Metric lines and checkpoints, in order."""
    findings: list[Finding] = []
    for what in happenings:
        if isinstance(what, MetricLine):
            judgement, found = take_line(judgement, what)
        else:
            judgement, found = take_checkpoints(judgement, [what])
        findings += found
    return judgement, findings


def sound(step: int) -> Checkpoint:
    return Checkpoint(step=step, finite=True)


def kinds(findings: list[Finding]) -> list[tuple[str, int | None]]:
    return [(f.kind.value, f.checkpoint_step or f.step) for f in findings]


def test_only_the_first_stop_is_ordered_and_later_ones_are_alerts_that_say_so() -> None:
    _, findings = run(
        start(BLOW_UP, NOT_FINITE),
        line(1, val_ce=2.0),
        line(2, val_ce=3.0),
        line(3, val_ce=NAN),
    )
    assert [(f.kind, f.rule, f.stops) for f in findings] == [
        (Kind.VERDICT, "blow_up", True),
        (Kind.ALERT, "nan", False),
    ]
    assert "rule blow_up has already stopped this attempt" in findings[1].reason


def test_a_stop_that_was_written_down_earlier_counts_as_the_first() -> None:
    _, findings = run(start(NOT_FINITE, stopped_by="quiet"), line(1, val_ce=NAN))
    assert [(f.kind, f.rule) for f in findings] == [(Kind.ALERT, "nan")]


def test_an_evaluation_counts_once_its_step_is_over() -> None:
    judgement, findings = run(start(), sound(100), line(200, val_ce=2.0))
    assert findings == []
    _, findings = run(judgement, line(201, train_ce=2.0))
    assert kinds(findings) == [("certified", 100)]


def test_a_band_is_looked_up_in_every_line_of_the_evaluations_step() -> None:
    certify = Certify.model_validate({"evaluations": 1, "bands": {"residual": {"below": 1.0}}})
    held = Checkpoint(step=100, finite=True, metrics={"residual": 0.5})
    judgement, findings = run(
        start(certify=certify),
        held,
        line(200, val_ce=2.0),
        line(200, t=200.5, residual=3.0),
        line(300, train_ce=2.0),
    )
    assert findings == []
    assert "residual is 3 and must be at most 1" in judgement.explain(100)


def test_an_evaluation_where_a_rule_holds_is_not_healthy_even_before_the_rule_fires() -> None:
    judgement, findings = run(
        start(BLOW_UP), sound(100), line(150, val_ce=2.0), line(200, val_ce=3.0), line(201, x=1.0)
    )
    assert kinds(findings) == [("certified", 100)]  # by the evaluation at 150
    judgement, findings = run(judgement, sound(160), line(210, val_ce=2.1), line(211, x=1.0))
    assert kinds(findings) == [("certified", 160)]  # not by the one at 200
    assert findings[0].step == 210


def test_the_window_of_an_alarm_ends_with_the_point_that_is_well_again() -> None:
    judgement, _ = run(
        start({**BLOW_UP, "action": "alert"}),
        *(line(s, val_ce=v) for s, v in [(100, 2.0), (200, 3.0), (300, 3.0), (400, 2.1)]),
        line(401, x=1.0),
    )
    [alarm] = judgement.alarms
    assert (alarm.onset, alarm.step, alarm.end) == (100, 300, 400)
    judgement, findings = run(judgement, sound(99), sound(100), sound(400), sound(401))
    assert kinds(findings) == [("certified", 99), ("quarantined", 100), ("quarantined", 400)]


def test_an_alarm_that_goes_on_when_the_trainer_leaves_has_no_end() -> None:
    judgement, _ = run(
        start(BLOW_UP), line(1, val_ce=2.0), line(2, val_ce=3.0), line(3, val_ce=3.0), sound(50)
    )
    assert judgement.checkpoints[50].standing is Standing.COMPLETE
    judgement, findings = finish(judgement)
    assert kinds(findings) == [("quarantined", 50), ("closed", 3)]


def test_finishing_counts_the_last_evaluation() -> None:
    judgement, findings = run(start(), sound(1), line(2, val_ce=2.0))
    assert findings == []
    assert kinds(finish(judgement)[1]) == [("certified", 1), ("closed", 2)]


def test_a_checkpoint_that_is_noticed_late_is_judged_as_if_noticed_in_time() -> None:
    lines = [line(200, val_ce=2.0), line(300, val_ce=2.0), line(400, val_ce=2.0), line(401, x=1.0)]
    certify = Certify(evaluations=2)
    _, early = run(start(certify=certify), sound(100), *lines)
    _, late = run(start(certify=certify), *lines, sound(100))
    assert early == late
    assert kinds(early) == [("certified", 100)]


def test_standings_are_read_back_from_what_was_written() -> None:
    _, findings = run(
        start(BLOW_UP),
        sound(100),
        sound(50),
        *(line(s, val_ce=v) for s, v in [(99, 2.2), (120, 2.1), (200, 3.0), (300, 3.0)]),
        sound(130),
    )
    lines = [f.as_line(t=0.0, latency_s=None) for f in findings]
    assert standings(lines) == {
        50: Standing.CERTIFIED,
        100: Standing.CERTIFIED,
        130: Standing.QUARANTINED,
    }


def test_what_was_written_down_holds_even_when_the_files_now_say_better() -> None:
    recorded = {100: Standing.REVOKED, 110: Standing.QUARANTINED, 120: Standing.CERTIFIED}
    judgement, findings = run(
        start(recorded=recorded),
        *map(sound, recorded),
        *(line(s, val_ce=2.0) for s in (200, 300, 400)),
    )
    assert findings == []
    assert {s: j.standing for s, j in judgement.checkpoints.items()} == recorded


def test_a_certificate_of_a_checkpoint_whose_directory_is_gone_is_still_revoked() -> None:
    _, findings = run(
        start(BLOW_UP, recorded={150: Standing.CERTIFIED}),
        *(line(s, val_ce=v) for s, v in [(100, 2.0), (200, 3.0), (300, 3.0)]),
    )
    assert ("revoked", 150) in kinds(findings)


def test_a_silence_is_stated_with_a_key_of_its_own_and_again_after_the_next_line() -> None:
    quiet = {"name": "quiet", "rule": "silence", "for_seconds": 10, "action": "alert"}
    moment = Moment(now=99.0, started=0.0, running=True)
    judgement, _ = run(start(quiet), line(1, x=1.0))
    keys = []
    for _ in range(2):
        judgement, findings = take_silence(judgement, moment)
        keys += [f.key for f in findings]
    judgement, _ = run(judgement, line(2, x=1.0))
    keys += [f.key for f in take_silence(judgement, moment)[1]]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("running", [None, True])
def test_a_silence_of_which_it_is_not_known_whether_the_trainer_lives_orders_nothing(
    running: bool | None,
) -> None:
    quiet = {"name": "quiet", "rule": "silence", "for_seconds": 10, "action": "kill"}
    moment = Moment(now=99.0, started=0.0, running=running)
    _, [finding] = take_silence(start(quiet), moment)
    assert finding.stops is (running is True)


happenings = st.lists(
    st.one_of(
        st.builds(
            line,
            st.integers(0, 25),
            val_ce=st.sampled_from([2.0, 2.1, 2.3, 2.8, 3.5, NAN]),
        ),
        st.builds(line, st.integers(0, 25), train_ce=st.just(1.0)),
        st.builds(sound, st.integers(0, 25)),
    ),
    max_size=40,
)
rule_sets = st.lists(
    st.sampled_from(
        [
            {**BLOW_UP, "action": "alert"},
            {**BLOW_UP, "name": "b1", "for_points": 1},
            NOT_FINITE,
            {"name": "t", "rule": "threshold", "metric": "val/ce", "above": 3, "action": "kill"},
        ]
    ),
    unique_by=lambda rule: rule["name"],
)


@given(rule_sets, happenings)
def test_no_certified_checkpoint_ever_lies_in_an_alarm_window(
    rules: list[dict[str, Any]], what: list[Any]
) -> None:
    judgement = start(*rules)
    for happening in what:
        judgement, _ = run(judgement, happening)
        now = judgement.window.step if judgement.window.step is not None else -1
        for judged in judgement.checkpoints.values():
            covered = any(a.covers(judged.step, now=now) for a in judgement.alarms)
            assert not (covered and judged.standing is Standing.CERTIFIED)


@given(rule_sets, happenings)
def test_what_is_revoked_or_quarantined_stays_so_and_no_news_comes_twice(
    rules: list[dict[str, Any]], what: list[Any]
) -> None:
    judgement, said = start(*rules), []
    fallen: set[int] = set()
    for happening in what:
        judgement, findings = run(judgement, happening)
        said += [f.key for f in findings if f.checkpoint_step is not None]
        now_fallen = {
            step
            for step, judged in judgement.checkpoints.items()
            if judged.standing in (Standing.REVOKED, Standing.QUARANTINED)
        }
        assert fallen <= now_fallen
        fallen = now_fallen
    assert len(said) == len(set(said))


@given(rule_sets, happenings)
def test_at_most_one_stop_an_attempt(rules: list[dict[str, Any]], what: list[Any]) -> None:
    _, findings = run(start(*rules), *what)
    assert sum(f.stops for f in findings) <= 1
