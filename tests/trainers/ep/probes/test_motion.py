from __future__ import annotations

import math

import pytest
import torch

from tests.trainers.ep.probes.conftest import Hopf, Linear
from trainers.ep.probes.motion import Fate, observe, period_of

EPS = 0.02


def test_a_limit_cycle_is_told_from_a_root():
    cycle, root = Hopf(mu=0.25, omega=2.0), Hopf(mu=-0.5, omega=2.0)
    (round_and_round,) = observe(cycle.force, cycle.start(0.3), eps=EPS, steps=4000, root=1e-6)
    (settled,) = observe(root.force, root.start(0.3), eps=EPS, steps=4000, root=1e-6)
    assert round_and_round.fate is Fate.CYCLE
    assert settled.fate is Fate.ROOT
    assert settled.period is None


def test_a_cycle_has_the_amplitude_and_the_period_of_its_normal_form():
    system = Hopf(mu=0.25, omega=2.0)
    (motion,) = observe(system.force, system.start(0.5), eps=0.005, steps=8000, root=1e-6)
    assert motion.period == pytest.approx(2 * math.pi / 2.0, rel=1e-2)
    size = system.centre * math.sqrt(2)
    assert motion.amplitude == pytest.approx(math.sqrt(0.25) / size, rel=5e-2)


def test_a_slow_spiral_into_a_root_is_no_cycle():
    system = Hopf(mu=-0.05, omega=2.0)
    (motion,) = observe(system.force, system.start(0.3), eps=EPS / 4, steps=6000, root=1e-9)
    assert motion.fate is Fate.FALLING


def test_an_unstable_spiral_still_rises():
    system = Linear(torch.tensor([[0.05, -2.0], [2.0, 0.05]], dtype=torch.float64))
    z = torch.full((1, 1, 2), 1e-3, dtype=torch.float64)
    shifted = torch.full_like(z, 3.0)
    (motion,) = observe(
        lambda u: system.force(u - shifted), shifted + z, eps=0.01, steps=2000, root=1e-9
    )
    assert motion.fate is Fate.RISING


def test_what_leaves_every_bound_has_diverged():
    system = Linear(torch.eye(2, dtype=torch.float64) * 1e3)
    z = torch.ones(1, 1, 2, dtype=torch.float64)
    (motion,) = observe(lambda u: system.force(u) * u.abs(), z, eps=1.0, steps=400, root=1e-6)
    assert motion.fate is Fate.DIVERGED


def test_sequences_are_judged_one_by_one():
    system = Hopf(mu=0.25, omega=2.0)
    at_root = system.start(0.3, 0.0)
    moving, still = observe(system.force, at_root, eps=EPS, steps=4000, root=1e-6)
    assert (moving.fate, still.fate) == (Fate.CYCLE, Fate.ROOT)


@pytest.mark.parametrize("period", [11.0, 17.5, 40.25])
def test_the_period_of_a_sampled_circle_is_found_to_a_fraction_of_a_sample(period):
    t = torch.arange(300, dtype=torch.float64) * 2 * math.pi / period
    path = torch.stack((t.cos(), t.sin(), (2 * t).cos()), -1)
    assert period_of(path) == pytest.approx(period, abs=0.1)


@pytest.mark.parametrize(
    "path",
    [
        torch.linspace(0, 1, 200, dtype=torch.float64)[:, None],
        torch.zeros(200, 2, dtype=torch.float64),
        torch.full((200, 1), torch.nan, dtype=torch.float64),
        torch.ones(3, 1, dtype=torch.float64),
    ],
    ids=["a line", "rest", "no number", "too short"],
)
def test_what_never_comes_back_has_no_period(path):
    assert period_of(path) is None
