"""The line through points: it is the least-squares line, and knows how well it is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchers.line import fit
from watchers.window import Point


def points(values: list[float], *, every: int = 10, start: int = 0) -> list[Point]:
    return [Point(step=start + every * i, t=0.0, value=v) for i, v in enumerate(values)]


heights = st.lists(st.floats(-100, 100), min_size=3, max_size=12)


@given(heights, st.floats(-5, 5), st.floats(-1, 1))
def test_no_other_line_lies_closer_to_the_points(
    values: list[float], lift: float, tilt: float
) -> None:
    found, drawn = fit(points(values)), points(values)

    def distance(lifted: float, tilted: float) -> float:
        return sum(
            (p.value - found.at(p.step) - lifted - tilted * (p.step - found.centre)) ** 2
            for p in drawn
        )

    assert distance(0, 0) <= distance(lift, tilt) + 1e-6


@given(st.floats(-1, 1), st.floats(-0.1, 0.1), st.integers(3, 20), st.integers(0, 10**9))
def test_points_on_a_line_give_that_line_without_error(
    height: float, slope: float, count: int, start: int
) -> None:
    line = fit(points([height + slope * 10 * i for i in range(count)], start=start))
    assert line.slope == pytest.approx(slope, abs=1e-9)
    assert line.at(start) == pytest.approx(height, abs=1e-9)
    assert line.error(start + 10_000) == pytest.approx(0, abs=1e-9)


def test_the_error_is_that_of_the_text_book() -> None:
    """Values 1, 3, 2, 4 at 0, 10, 20, 30: slope .08, residual sum of squares 1.8, s^2 = .9."""
    line = fit(points([1.0, 3.0, 2.0, 4.0]))
    assert line.slope == pytest.approx(0.08)
    assert line.scatter == pytest.approx(math.sqrt(0.9))
    assert line.error(15) == pytest.approx(math.sqrt(0.9 / 4))
    assert line.error(35) == pytest.approx(math.sqrt(0.9 * (1 / 4 + 400 / 500)))


@given(heights, st.floats(0, 1e4))
def test_a_line_is_known_best_in_the_middle_of_its_points(values: list[float], away: float) -> None:
    line = fit(points(values))
    assert line.error(line.centre) <= line.error(line.centre + away)
