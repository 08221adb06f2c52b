"""Every good point arrives, every bad one is known, however they lie."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.files import MetricLine
from watchers.mlflow_port import LARGEST_BATCH, Point, Refused, Unavailable, Unsure, kept, points_of
from watchers.mlflow_send import LAST_TRIES, send


def point(step: int, key: str = "a", timestamp: int = 1) -> Point:
    return Point(key=key, step=step, timestamp=timestamp, value=float(step))


class Store:
    """Takes all but the steps in ``bad``; raises ``error`` for these."""

    def __init__(self, bad: set[int], error: type[Exception] = Refused) -> None:
        self.bad = bad
        self.error = error
        self.taken: list[int] = []
        self.calls = 0

    def log(self, points: Sequence[Point]) -> None:
        assert len(points) <= LARGEST_BATCH
        self.calls += 1
        if any(p.step in self.bad for p in points):
            raise self.error("no")
        self.taken += [p.step for p in points]


@given(size=st.integers(0, 2500), bad=st.sets(st.integers(0, 2500), max_size=20))
def test_all_good_points_are_sent_once_and_all_bad_ones_are_named(size: int, bad: set[int]) -> None:
    store = Store(bad)
    rejected = send([point(step) for step in range(size)], store.log)
    assert sorted(one.point.step for one in rejected) == sorted(bad & set(range(size)))
    assert sorted(store.taken) == sorted(set(range(size)) - bad)


def test_one_bad_point_in_a_thousand_costs_a_score_of_calls() -> None:
    store = Store({437})
    send([point(step) for step in range(1000)], store.log)
    assert store.calls <= 22  # 1 + 2 log2(1000)


@pytest.mark.parametrize("error", [Unavailable, Unsure, OSError])
def test_what_is_no_refusal_stops_the_sending(error: type[Exception]) -> None:
    with pytest.raises(error):
        send([point(1), point(2)], Store({1}, error).log)


def test_a_doubtful_point_is_refused_only_while_the_store_takes_other_things() -> None:
    store, asked = Store({3}, Unsure), []
    rejected = send([point(s) for s in range(8)], store.log, still_up=lambda: asked.append(1))
    assert [one.point.step for one in rejected] == [3]
    assert sorted(store.taken) == [0, 1, 2, 4, 5, 6, 7]
    assert asked == [1] * LAST_TRIES

    def down() -> None:
        raise Unavailable("down")

    with pytest.raises(Unavailable):
        send([point(s) for s in range(8)], Store({3}, Unsure).log, still_up=down)


@pytest.mark.parametrize("timestamp", [-1, 2**63, 10**400])
def test_a_time_that_no_store_can_hold_is_refused_before_it_is_sent(timestamp: int) -> None:
    store = Store(set())
    rejected = send([point(1), point(2, timestamp=timestamp)], store.log)
    assert [one.point.step for one in rejected] == [2]
    assert store.taken == [1]


@pytest.mark.parametrize(
    ("t", "milliseconds"), [(1.0005, 1000), (1.0006, 1001), (-3.0, -3000), (0.0, 0), (1e308, None)]
)
def test_the_time_of_a_point_is_that_of_its_line_in_milliseconds(
    t: float, milliseconds: int | None
) -> None:
    (found,) = points_of(MetricLine(t=t, step=1, metrics={"a": 1.0}))
    assert found.timestamp == (int(t) * 1000 if milliseconds is None else milliseconds)


@given(st.floats())
def test_mlflow_keeps_no_infinity_and_flags_nan(value: float) -> None:
    *_, stored, is_nan = kept(Point(key="a", step=1, timestamp=1, value=value))
    assert abs(stored) <= 1.7976931348623157e308
    assert is_nan == (value != value)
    assert is_nan or stored == value or abs(value) == float("inf")
