"""The rate of a step at the corners of its phase: warm-up, constant, decay."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.trainer_hope import HopeOptimizer
from trainers.hope.schedule import factor

STEPS = 100


def settings(**fields: object) -> HopeOptimizer:
    given = {"lr": 1e-3, "start_lr": 2e-4, "warmup": 0.1, "decay": 0.2}
    return HopeOptimizer.model_validate({**given, **fields})


@pytest.mark.parametrize(
    ("shape", "step", "of_the_peak"),
    [
        ("linear", 0, 0.2),
        ("linear", 5, 0.6),
        ("linear", 10, 1.0),
        ("linear", 80, 1.0),
        ("linear", 90, 0.5),
        ("linear", 99, 0.05),
        ("cosine", 0, 0.2),
        ("cosine", 80, 1.0),
        ("cosine", 90, 0.5),
        ("cosine", 99, 0.5 * (1 + math.cos(math.pi * 0.95))),
    ],
)
def test_the_rate_has_its_values_at_the_corners(shape: str, step: int, of_the_peak: float) -> None:
    assert factor(step, STEPS, settings(decay_shape=shape)) == pytest.approx(of_the_peak)


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["linear", "cosine"]))
def test_the_rate_rises_once_then_falls_once_and_never_leaves_its_bounds(
    steps: int, warmup: float, decay: float, shape: str
) -> None:
    decay = min(decay, 1 - warmup)
    chosen = settings(warmup=warmup, decay=decay, decay_shape=shape)
    found = [factor(step, steps, chosen) for step in range(steps)]
    top = found.index(max(found))
    assert all(0 < value <= 1 for value in found)
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)


def test_without_warm_up_and_decay_the_rate_is_the_peak_throughout() -> None:
    flat = settings(warmup=0.0, decay=0.0)
    assert {factor(step, STEPS, flat) for step in range(STEPS)} == {1.0}
