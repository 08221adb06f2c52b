from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.files import MetricLine
from watchers.progress import MOST_METRICS, Pace, Progress


def pace(*intervals: float, steps: int = 1) -> float | None:
    kept = Pace()
    times = itertools.accumulate(intervals, initial=0.0)
    for order, t in enumerate(times):
        kept.take(order * steps, t)
    return kept.steps_per_s()


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ((), None),
        ((0.5,), 2.0),
        ((1, 1, 1, 40), 1.0),
        ((1, 2, 3, 50, 60), 0.5),
        ((1.0,) * 500 + (0.5,) * 200, 2.0),
    ],
    ids=["no interval", "one", "a pause", "many pauses are left out", "only the last 200 count"],
)
def test_the_pace_is_the_median_of_the_newest_intervals_without_pauses(
    intervals: tuple[float, ...], expected: float | None
) -> None:
    assert pace(*intervals) == expected


def test_the_pace_is_per_step_not_per_line() -> None:
    assert pace(2.0, 2.0, steps=10) == 5.0
    kept = Pace()
    for step, t in [(1, 0.0), (1, 0.9), (2, 1.0), (2, 1.9), (3, 2.0)]:
        kept.take(step, t)
    assert kept.steps_per_s() == 1.0


times = st.floats(allow_nan=False, allow_infinity=False)
steps = st.integers(0, 2**63 - 1)


@given(st.lists(st.tuples(steps, times, st.floats()), max_size=20))
def test_progress_is_json_whatever_the_lines_say(
    rows: list[tuple[int, float, float]],
) -> None:
    progress = Progress()
    for step, t, value in rows:
        progress.take(MetricLine(t=t, step=step, metrics={"a": value}))
    data = progress.as_json(t=0.0, points=len(rows), checkpoints={})
    strict = json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert strict["step"] == (rows[-1][0] if rows else None)


def test_more_metrics_than_fit_are_left_out_of_the_file() -> None:
    progress = Progress()
    for number in range(MOST_METRICS + 5):
        progress.take(MetricLine(t=0.0, step=number, metrics={f"loss_{number}": 1.0}))
    content = json.loads(progress.as_json(t=0.0, points=0, checkpoints={}))
    assert len(content["latest"]) == len(content["best"]) == MOST_METRICS
