from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.trainer_ep import Jacreg, Optimizer
from trainers.ep import jr
from trainers.ep.schedule import learning_rate


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (12, 1.0), (15, 1.0), (16, 0.8), (19, 0.2)],
)
def test_the_rate_warms_up_stays_and_decays_over_the_last_quarter(step, rate):
    of = Optimizer(lr=1.0, warmup=4, decay_fraction=0.25)
    assert learning_rate(step, 20, of) == pytest.approx(rate)


@pytest.mark.parametrize("step", [0, 7, 19])
def test_without_warm_up_and_decay_the_rate_is_constant(step):
    assert learning_rate(step, 20, Optimizer(lr=0.3, warmup=0, decay_fraction=0)) == 0.3


def run(settings: Jacreg, residuals: list[float]) -> list[float]:
    state, weights = jr.initial(settings), []
    for step, residual in enumerate(residuals, start=1):
        state = jr.update(state, settings, residual, step)
        weights.append(state.jr)
    return weights


@pytest.mark.parametrize(
    "settings",
    [
        Jacreg(weight=0.1),
        Jacreg(weight=0.1, floor=0.1, max=0.1),
        Jacreg(weight=0.5, floor=0.1, max=0.1),
    ],
)
def test_the_controller_is_frozen_where_floor_is_max(settings):
    assert set(run(settings, [1e-9, 1.0, 1e3] * 20)) == {0.1}


def test_the_controller_moves_at_its_beat_by_a_limited_factor():
    settings = Jacreg(weight=0.1, floor=0.01, max=10.0, every=5)
    weights = run(settings, [1e6] * 10)
    assert weights[:4] == [0.1] * 4
    assert weights[4:9] == pytest.approx([0.12] * 5)
    assert weights[9] == pytest.approx(0.144)


@given(
    residuals=st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=40),
    every=st.integers(1, 5),
    weight=st.floats(0.01, 1.0),
)
def test_no_update_moves_the_weight_by_more_than_a_fifth_or_out_of_its_limits(
    residuals, every, weight
):
    settings = Jacreg(weight=weight, floor=0.01, max=1.0, every=every)
    before = [weight, *run(settings, residuals)]
    for step, (a, b) in enumerate(pairwise(before), start=1):
        assert 0.01 <= b <= 1.0
        assert 1 / 1.2 - 1e-9 <= b / a <= 1.2 + 1e-9
        assert step % every == 0 or a == b


def test_the_controller_follows_the_mean_of_the_logarithm():
    """A residual that swings evenly in the logarithm around its target leaves the weight where it is."""
    settings = Jacreg(weight=0.1, floor=0.01, max=1.0, every=1, target=1e-3)
    weights = run(settings, [1e-2, 1e-4] * 200)
    assert weights[-1] / weights[-201] == pytest.approx(1.0, rel=0.02)


def test_the_controller_rests_at_its_target_and_obeys_its_limits():
    settings = Jacreg(weight=0.1, floor=0.05, max=0.2, every=1, target=1e-3)
    assert run(settings, [1e-3] * 30) == pytest.approx([0.1] * 30)
    assert run(settings, [1.0] * 30)[-1] == pytest.approx(0.2)
    assert run(settings, [1e-9] * 30)[-1] == pytest.approx(0.05)


def test_one_spike_of_the_residual_moves_the_weight_little():
    settings = Jacreg(weight=0.1, floor=0.01, max=10.0, every=1, target=1e-3)
    calm, spiked = [1e-3] * 20, [1e-3] * 10 + [2e-2] + [1e-3] * 9
    assert max(run(settings, spiked)) < 0.25
    assert run(settings, calm)[-1] < run(settings, spiked)[-1]
