"""The definitions of hope.md on the documented matrix, and their laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.hope.continual import metrics

LOWER = (
    (0.2783, 0.3948, 0.4216, 0.4820, 0.4132, 0.4719),
    (0.3529, 0.2791, 0.3494, 0.4521, 0.3839, 0.4561),
    (0.3805, 0.3087, 0.2953, 0.4202, 0.3787, 0.4554),
    (0.4030, 0.3538, 0.3264, 0.3419, 0.3368, 0.3700),
    (0.4227, 0.3789, 0.3575, 0.3853, 0.2929, 0.3440),
    (0.4401, 0.3990, 0.3771, 0.3917, 0.3076, 0.3167),
)
"""Jump errors of the documented lower bound, the transformer trained task after task."""

JOINT = (0.2502, 0.2437, 0.2491, 0.2818, 0.2581, 0.3364)
PHASE_1_LAST = (0.4359, 0.4077, 0.3966, 0.4172, 0.3507, 0.3666)
PHASE_1_LEARNT = (0.3256, 0.3272, 0.3447, 0.3932, 0.3406, 0.3666)

MATRICES = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.lists(st.floats(0, 10), min_size=n, max_size=n), min_size=n, max_size=n)
)


def test_the_documented_lower_bound_has_its_documented_numbers() -> None:
    assert metrics.average_error(LOWER) == pytest.approx(0.3720, abs=5e-5)
    assert metrics.forgetting(LOWER) == pytest.approx(0.0856, abs=5e-5)
    assert metrics.forgetting_since_learnt(LOWER) == pytest.approx(0.0856, abs=5e-5)
    assert metrics.plasticity(LOWER) == pytest.approx(0.3007, abs=5e-5)


def test_the_first_phase_has_its_documented_numbers() -> None:
    rows = [[PHASE_1_LEARNT[i] if i == j else 9.0 for j in range(6)] for i in range(5)]
    R = [*rows, list(PHASE_1_LAST)]
    assert metrics.average_error(R) == pytest.approx(0.3958, abs=5e-5)
    assert metrics.forgetting(R) == pytest.approx(0.0554, abs=5e-5)
    assert metrics.plasticity(R) == pytest.approx(0.3497, abs=6e-5)


@pytest.mark.parametrize(
    ("upper", "percent"),
    [(JOINT[0], -19.5), (metrics.average_error([JOINT]), -23.3)],
    ids=["the joint model's error on base alone", "its mean over the six tasks"],
)
def test_the_gap_of_the_first_phase_depends_on_what_is_called_the_upper_bound(
    upper: float, percent: float
) -> None:
    lower, first = metrics.average_error(LOWER), metrics.average_error([PHASE_1_LAST])
    assert metrics.gap_closed(lower, first, upper) == pytest.approx(percent, abs=0.05)


def test_the_upper_bound_is_the_mean_over_all_tasks() -> None:
    assert metrics.summary([JOINT]) == {"avg_error": pytest.approx(0.2699, abs=5e-5)}


def test_the_bounds_themselves_close_nothing_and_all_of_it() -> None:
    assert metrics.gap_closed(0.4, 0.4, 0.3) == 0
    assert metrics.gap_closed(0.4, 0.3, 0.3) == pytest.approx(100)
    with pytest.raises(ValueError, match="no gap"):
        metrics.gap_closed(0.3, 0.2, 0.3)


@given(MATRICES)
def test_the_lowest_error_before_is_never_above_that_right_after_learning(
    R: list[list[float]],
) -> None:
    assert metrics.forgetting(R) >= metrics.forgetting_since_learnt(R) - 1e-12
    assert metrics.backward_transfer(R) == metrics.forgetting_since_learnt(R)


@given(MATRICES)
def test_the_two_forms_agree_where_each_task_is_best_right_after_it_was_learnt(
    R: list[list[float]],
) -> None:
    lowest = [[min(row[j] for row in R) if i == j else R[i][j] for j in range(len(R))] for i in range(len(R))]  # fmt: skip
    assert metrics.forgetting(lowest) == pytest.approx(metrics.forgetting_since_learnt(lowest))


def test_only_tasks_still_to_come_count_as_future() -> None:
    R = [[1.0, 2.0, 3.0], [9.0, 9.0, 4.0], [9.0, 9.0, 9.0]]
    assert metrics.zero_shot_future(R) == 3.0
