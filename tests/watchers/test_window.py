from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.files import MetricLine
from watchers.window import Series, Window, same

NAN = math.nan


def series_of(*points: tuple[int, float]) -> Series:
    series = Series()
    for order, (step, value) in enumerate(points):
        series = series.append(step, float(order), value)
    return series


def pairs(series: Series) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in series]


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([(1, 2.0), (2, 3.0)], [(1, 2.0), (2, 3.0)]),
        ([(1, 2.0), (1, 3.0)], [(1, 3.0)]),
        ([(1, 2.0), (2, 3.0), (3, 4.0), (2, 9.0)], [(1, 2.0), (2, 9.0)]),
        ([(5, 2.0), (1, 3.0), (2, 4.0)], [(1, 3.0), (2, 4.0)]),
    ],
    ids=["in order", "a step again replaces it", "an earlier step goes back", "from the start"],
)
def test_file_order_rules(points: list[tuple[int, float]], kept: list[tuple[int, float]]) -> None:
    assert pairs(series_of(*points)) == kept


def test_the_same_point_again_changes_nothing_wherever_it_comes() -> None:
    series = Series().append(1, 0.5, NAN).append(2, 0.6, 2.0).append(3, 0.7, 1.0)
    assert series.append(1, 0.5, NAN) is series
    assert series.append(3, 0.7, 1.0) is series


@given(st.lists(st.tuples(st.integers(0, 12), st.floats(width=16)), max_size=40))
def test_an_older_series_never_changes_when_a_newer_one_grows(
    points: list[tuple[int, float]],
) -> None:
    grown = [Series()]
    seen: list[list[tuple[int, float]]] = [[]]
    for order, (step, value) in enumerate(points):
        grown.append(grown[-1].append(step, float(order), value))
        seen.append(pairs(grown[-1]))
    for series, before in zip(grown, seen, strict=True):
        assert all(
            a == c and same(b, d) for (a, b), (c, d) in zip(pairs(series), before, strict=True)
        )


def test_two_futures_of_one_series_do_not_see_each_other() -> None:
    trunk = series_of((1, 1.0), (2, 2.0))
    left, right = trunk.append(3, 9.0, 3.0), trunk.append(3, 9.0, 30.0)
    assert (pairs(left)[-1], pairs(right)[-1]) == ((3, 3.0), (3, 30.0))
    assert pairs(trunk) == [(1, 1.0), (2, 2.0)]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(width=16)), min_size=1, max_size=40),
    st.integers(0, 30),
)
def test_the_best_is_the_first_of_the_lowest_finite_values_since_a_step(
    points: list[tuple[int, float]], since: int
) -> None:
    series = series_of(*points)
    judged = [p for p in series if p.step >= since and math.isfinite(p.value)]
    expected = min(judged, key=lambda p: p.value, default=None)
    assert series.best(since=since) == expected
    assert series.best(since=since, row=0) == next((p for p in judged if p == series[0]), None)


def lines(*rows: tuple[int, dict[str, float]]) -> Window:
    window = Window(keep=frozenset({"a"}))
    for order, (step, metrics) in enumerate(rows):
        window = window.append(MetricLine(t=float(order), step=step, metrics=metrics))
    return window


def test_unsound_metrics_are_those_whose_newest_value_is_not_finite() -> None:
    window = lines((1, {"a": NAN, "b": 1.0}), (2, {"a": 2.0, "b": math.inf}), (3, {"c": 1.0}))
    assert window.unsound == {"b"}
    assert (window.latest["b"].bad, window.latest["b"].finite_step) == (1, 1)


def test_a_step_written_twice_counts_once_in_a_row_of_non_finite_values() -> None:
    window = lines((1, {"b": 1.0}), (2, {"b": NAN}), (2, {"b": math.inf}), (2, {"b": -math.inf}))
    assert window.latest["b"].bad == 1


def test_duplicate_lines_add_no_points() -> None:
    line = MetricLine(t=1.0, step=1, metrics={"a": 1.0, "b": NAN})
    window = Window(keep=frozenset({"a"})).append(line)
    again = window.append(line)
    assert (again.points, again.touched) == (window.points, ()) == (2, ())


def test_asking_for_a_series_that_is_not_kept_is_an_error_not_an_empty_series() -> None:
    with pytest.raises(KeyError, match="keeps no series of 'b'"):
        lines((1, {"b": 1.0})).of("b")
