"""Laws of the time that is left and of metrics over several attempts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.pace import Leg, eta_of, merged_metrics
from tests.campaign.homes import progress_of


def _progress(step: int, *, t: float, pace: float | None = 10.0) -> dict[str, Any]:
    return {"t": t, "step": step, "steps_per_s": pace}


@pytest.mark.parametrize(
    ("total", "step", "pace"),
    [
        (None, 500, 10.0),  # nobody said how many steps
        (1000, 149, 10.0),  # fewer than 50 of this attempt
        (1000, 500, None),  # no pace yet
    ],
)
def test_there_is_no_guess_where_nothing_is_known(
    total: int | None, step: int, pace: float | None
) -> None:
    progress = _progress(step, t=100.0, pace=pace)
    assert eta_of(progress, total=total, first_step=100, since=0.0) is None


def test_the_range_spans_the_pace_of_steps_and_the_pace_with_pauses() -> None:
    # 400 steps in 80 s, though steps alone take 0.1 s each: half of the time went into evaluations
    eta = eta_of(_progress(400, t=80.0), total=1000, first_step=0, since=0.0)
    assert eta is not None
    assert (eta.low, eta.high) == (60.0, 120.0)


@given(st.integers(50, 10_000), st.integers(0, 10_000), st.floats(0.1, 1e6), st.floats(1e-3, 1e5))
def test_a_guess_is_a_range_of_times_to_come(
    step: int, total: int, elapsed: float, pace: float
) -> None:
    eta = eta_of(_progress(step, t=elapsed, pace=pace), total=total, first_step=0, since=0.0)
    assert eta is not None
    assert 0 <= eta.low <= eta.high


def test_a_best_value_that_a_rollback_left_behind_does_not_count() -> None:
    left = progress_of(500, {"val/ce": 1.0})  # best at step 500, rolled back to 300
    after = progress_of(320, {"val/ce": 2.5})
    cell = merged_metrics([Leg(progress=left, left_at=300), Leg(progress=after)])["val/ce"]
    assert (cell["best"], cell["best_step"]) == (2.5, 320)


def test_a_best_value_before_the_rollback_counts() -> None:
    left = progress_of(300, {"val/ce": 1.0})
    after = progress_of(320, {"val/ce": 2.5})
    cell = merged_metrics([Leg(progress=left, left_at=300), Leg(progress=after)])["val/ce"]
    assert (cell["latest"], cell["best"], cell["best_step"]) == (2.5, 1.0, 300)


def test_a_metric_that_was_never_finite_has_no_best() -> None:
    progress = {"latest": {"val/ce": {"step": 3, "value": "NaN"}}, "best": {}}
    cell = merged_metrics([Leg(progress=progress)])["val/ce"]
    assert cell == {"latest": "NaN", "latest_step": 3, "best": None, "best_step": None}


@pytest.mark.parametrize(
    ("then", "now", "best"),
    [
        (None, None, 1.0),
        ({"name": "a", "since": 20}, {"name": "a", "since": None}, 1.0),
        ({"name": "a", "since": None}, {"name": "b", "since": None}, 2.5),
        ({"name": "a", "since": None}, {"name": "a", "since": 310}, 2.5),
        ({"name": "a", "since": None}, {"name": "b", "since": 310}, 2.5),
    ],
    ids=["no phases", "still in it", "began in the next", "came to it again", "came to the next"],
)
def test_a_best_value_of_an_earlier_attempt_counts_while_the_run_is_in_that_phase(
    then: dict[str, Any] | None, now: dict[str, Any] | None, best: float
) -> None:
    left = progress_of(300, {"val/ce": 1.0}, phase=then)
    waits: dict[str, Any] = {}  # an attempt that died before its first line
    after = progress_of(320, {"val/ce": 2.5}, phase=now)
    legs = [Leg(progress=left, left_at=300), Leg(progress=waits, left_at=300), Leg(progress=after)]
    assert merged_metrics(legs)["val/ce"]["best"] == best
