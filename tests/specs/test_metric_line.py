"""Laws of the line of metrics.jsonl: what is written is read, and what names no phase has none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.metric_line import LONGEST_PHASE, MetricLine, metric_line, parse_metric_line

names = st.text(min_size=1, max_size=20)


@given(
    st.integers(0, 2**63 - 1),
    st.dictionaries(names, st.floats(allow_nan=False), max_size=4),
    st.none() | names,
)
def test_what_is_written_is_read_again(
    step: int, metrics: dict[str, float], phase: str | None
) -> None:
    found = parse_metric_line(metric_line(1.5, step, metrics, phase))
    assert found == MetricLine(t=1.5, step=step, metrics=metrics, phase=phase)


def test_a_line_of_a_training_without_phases_says_nothing_of_phases() -> None:
    assert set(json.loads(metric_line(1.0, 1, {"a": 2.0}))) == {"t", "step", "m"}


@pytest.mark.parametrize(
    ("phase", "named"),
    [("scaling", "scaling"), (3, "3"), (None, None), ("x" * LONGEST_PHASE, "x" * LONGEST_PHASE)],
)
def test_a_phase_is_a_name_or_a_number(phase: object, named: str | None) -> None:
    found = parse_metric_line(_line(phase=phase))
    assert found is not None
    assert found.phase == named


@pytest.mark.parametrize("phase", [True, 1.5, "", [], {}, "x" * (LONGEST_PHASE + 1)])
def test_a_line_whose_phase_is_no_name_is_no_metric_line(phase: object) -> None:
    assert parse_metric_line(_line(phase=phase)) is None


def _line(**more: Any) -> bytes:
    return json.dumps({"t": 1.0, "step": 1, "m": {"a": 2.0}, **more}).encode()
