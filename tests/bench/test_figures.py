from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.figures import Verdict, median_interval, percentile, summary, verdict
from tests.bench.report import Result, Row, shown

samples = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60)


@given(samples)
def test_half_of_the_samples_lie_between_the_quartiles(found: list[float]) -> None:
    got = summary(found)
    assert got.low <= got.median <= got.high
    assert sum(got.low <= x <= got.high for x in found) >= len(found) / 2


@given(samples, st.floats(1, 100))
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(
    found: list[float], percent: float
) -> None:
    got = percentile(found, percent)
    assert got in found
    assert sum(x <= got for x in found) >= len(found) * percent / 100 - 1e-9
    assert sum(x < got for x in found) < len(found) * percent / 100


def test_the_p99_of_fewer_than_a_hundred_is_the_largest() -> None:
    assert percentile(range(40), 99) == 39


def test_nothing_measured_has_no_summary() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        summary([])


@pytest.mark.parametrize("n", range(1, 13))
def test_the_interval_holds_the_true_median_as_often_as_it_says(n: int) -> None:
    """All 2^n ways in which n samples can lie around a true median of zero, each equally likely."""
    size = random.Random(0)
    distances = [size.uniform(0.1, 1.0) for _ in range(n)]
    held = 0
    for signs in product((-1, 1), repeat=n):
        got = median_interval([sign * d for sign, d in zip(signs, distances, strict=True)])
        held += got.low <= 0 <= got.high
    assert held / 2**n == pytest.approx(got.confidence)


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.000, 1.002, 0.999, 1.001, 1.003], Verdict.WITHIN),
        ([1.100, 1.120, 1.090, 1.110, 1.105], Verdict.SLOWER),
        ([0.900, 1.150, 1.020, 0.980, 1.040], Verdict.UNDECIDED),
        ([1.009, 1.011, 1.010, 1.010, 1.010], Verdict.UNDECIDED),
        ([1.000] * 7 + [1.900], Verdict.WITHIN),
    ],
)
def test_a_verdict_is_given_only_where_the_goal_lies_outside_the_spread(
    ratios: list[float], expected: Verdict
) -> None:
    assert verdict(ratios, goal=0.01) is expected


def test_a_ratio_of_pairs_is_taken_pair_by_pair() -> None:
    slow, fast = Row(what="b", samples=(1.0, 10.0, 100.0)), (20.0, 1.0, 50.0)
    paired = Row(what="a", samples=fast, against="b", paired=True)
    loose = Row(what="c", samples=fast, against="b")
    result = Result(name="x", title="", rows=(slow, paired, loose))
    assert result.ratio(paired) == pytest.approx(0.5)
    assert result.ratio(loose) == pytest.approx(2.0)
    assert result.ratio(slow) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3 ms"), (80.5, "80.5 s"), (8.68e-4, "868 us"), (1234.5, "1234 s")],
)
def test_a_time_is_shown_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert shown(seconds) == text
