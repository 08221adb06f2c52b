from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.watch import Band, Certify
from watchers.certify import (
    AlarmWindow,
    Checkpoint,
    Evaluation,
    Judged,
    Standing,
    admit,
    explain,
    health,
    in_band,
    observe,
    raise_alarm,
)

S = Standing
TWO = Certify(evaluations=2)
BANDED = Certify.model_validate(
    {"evaluations": 1, "bands": {"residual": {"below": 0.1}, "re_mu": {"above": -2, "below": 0}}}
)


def evidence(**metrics: float) -> Checkpoint:
    return Checkpoint(step=200, finite=True, metrics=metrics)


def after(certify: Certify, checkpoint: Checkpoint, *evaluations: tuple[int, str | None]) -> Judged:
    judged = admit(certify, checkpoint)
    for step, problem in evaluations:
        judged = observe(certify, judged, Evaluation(step=step, value=2.0, problem=problem))
    return judged


def alarm(onset: int, end: int | None, step: int = 900) -> AlarmWindow:
    return AlarmWindow(
        rule="r", metric="m", onset=onset, end=end, step=step, value=9.0, reason="m rose"
    )


@pytest.mark.parametrize(
    ("evaluations", "standing", "says"),
    [
        ([], S.COMPLETE, "needs 2 more healthy evaluations after step 200"),
        ([(100, None), (200, None)], S.COMPLETE, "needs 2 more healthy evaluations after step 200"),
        ([(300, None)], S.COMPLETE, "needs 1 more healthy evaluation after step 200"),
        (
            [(300, None), (400, None)],
            S.CERTIFIED,
            "evidence in band, then 2 healthy evaluations in a row of val/ce, to 2 at step 400",
        ),
        (
            [(300, None), (400, "val/ce is NaN"), (500, None)],
            S.COMPLETE,
            "needs 1 more healthy evaluation after step 200; at step 400 val/ce is NaN",
        ),
        ([(300, "x"), (400, None), (500, None)], S.CERTIFIED, "to 2 at step 500"),
        ([(300, None), (300, None)], S.COMPLETE, "needs 1 more"),
        ([(400, None), (300, None)], S.COMPLETE, "needs 1 more"),
    ],
    ids=[
        "none yet",
        "earlier ones do not count",
        "one",
        "enough",
        "one that is not healthy starts the count again",
        "a bad start can be made good",
        "the same step twice counts once",
        "going back starts the count again",
    ],
)
def test_a_checkpoint_with_sound_evidence_waits_for_healthy_evaluations_in_a_row(
    evaluations: list[tuple[int, str | None]], standing: Standing, says: str
) -> None:
    judged = after(TWO, evidence(), *evaluations)
    assert judged.standing is standing
    assert says in explain(TWO, judged)


@pytest.mark.parametrize(
    ("checkpoint", "says"),
    [
        (
            evidence(residual=0.2, re_mu=-1),
            "residual is 0.2 in its evidence and must be at most 0.1",
        ),
        (evidence(re_mu=-1), "its evidence has no residual, which must be at most 0.1"),
        (evidence(residual=math.nan, re_mu=-1), "residual is NaN in its evidence"),
        (evidence(residual=0.1, re_mu=-3), "re_mu is -3 in its evidence and must be at least -2"),
        (Checkpoint(step=200), "it has no evidence"),
        (Checkpoint(step=200, problem="evidence.json is torn"), "evidence.json is torn"),
    ],
    ids=["out of band", "missing", "NaN", "two-sided", "no evidence", "unreadable"],
)
def test_evidence_that_is_not_in_band_is_never_made_good_by_evaluations(
    checkpoint: Checkpoint, says: str
) -> None:
    judged = after(BANDED, checkpoint, (300, None), (400, None), (500, None))
    assert judged.standing is S.COMPLETE
    assert says in explain(BANDED, judged)


def test_a_state_that_is_not_finite_is_quarantined_at_once() -> None:
    judged = admit(TWO, Checkpoint(step=200, finite=False))
    assert judged.standing is S.QUARANTINED
    assert "not finite" in explain(TWO, judged)


@pytest.mark.parametrize(
    ("onset", "end", "now", "falls"),
    [
        (200, 300, 999, True),
        (100, 200, 999, True),
        (201, 300, 999, False),
        (100, 199, 999, False),
        (100, None, 199, False),
        (100, None, 200, True),
        (300, None, math.inf, False),
    ],
    ids=["at the onset", "at the end", "before", "after", "not there yet", "there", "before it"],
)
@pytest.mark.parametrize(
    ("before", "fallen"), [(S.COMPLETE, S.QUARANTINED), (S.CERTIFIED, S.REVOKED)]
)
def test_an_alarm_takes_exactly_what_lies_in_its_window(
    onset: int, end: int | None, now: float, falls: bool, before: Standing, fallen: Standing
) -> None:
    judged = raise_alarm(admit(TWO, evidence(), before), [alarm(onset, end)], now=now)
    assert judged.standing is (fallen if falls else before)


@pytest.mark.parametrize("fallen", [S.REVOKED, S.QUARANTINED])
def test_what_has_fallen_is_never_certified_again(fallen: Standing) -> None:
    judged = admit(TWO, evidence(), fallen)
    for step in (300, 400, 500, 600):
        judged = observe(TWO, judged, Evaluation(step=step, value=2.0))
    assert raise_alarm(judged, [alarm(0, None)], now=math.inf).standing is fallen


def test_the_reason_of_a_revocation_names_the_rule_the_onset_and_the_numbers() -> None:
    judged = raise_alarm(admit(TWO, evidence(), S.CERTIFIED), [alarm(100, None)], now=900)
    assert explain(TWO, judged) == "taken back: rule r, onset step 100: m rose"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"value": 2.0, "banded": {}, "alarming": []}, None),
        ({"value": 2.0, "banded": {"residual": 0.1}, "alarming": []}, None),
        ({"value": math.nan, "banded": {}, "alarming": []}, "val/ce is NaN"),
        (
            {"value": 2.0, "banded": {"residual": 0.2}, "alarming": []},
            "residual is 0.2 and must be at most 0.1",
        ),
        ({"value": 2.0, "banded": {}, "alarming": ["blow_up"]}, "rule blow_up holds there"),
    ],
    ids=["healthy", "in band", "not finite", "out of band", "a rule alarms"],
)
def test_the_health_of_an_evaluation(fields: dict[str, Any], problem: str | None) -> None:
    assert health(BANDED, **fields) == problem


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(),
)
def test_a_band_holds_exactly_the_finite_numbers_between_its_bounds(
    one: float, other: float, value: float
) -> None:
    low, high = sorted((one, other))
    band = Band(above=low, below=high)
    assert in_band(band, value) == (math.isfinite(value) and low <= value <= high)


moves = st.one_of(
    st.builds(
        Evaluation,
        step=st.integers(0, 20),
        value=st.just(2.0),
        problem=st.sampled_from([None, None, None, "bad"]),
    ),
    st.builds(alarm, st.integers(0, 20), st.one_of(st.none(), st.integers(0, 20))),
)
LEGAL = {
    (S.COMPLETE, S.CERTIFIED),
    (S.COMPLETE, S.QUARANTINED),
    (S.CERTIFIED, S.REVOKED),
    *((s, s) for s in S),
}


@given(st.integers(0, 20), st.lists(moves, max_size=30))
def test_standings_make_legal_moves_only(step: int, happenings: list[Any]) -> None:
    judged = admit(TWO, Checkpoint(step=step, finite=True))
    for what in happenings:
        before = judged.standing
        if isinstance(what, Evaluation):
            judged = observe(TWO, judged, what)
        else:
            judged = raise_alarm(judged, [what], now=20)
        assert (before, judged.standing) in LEGAL
