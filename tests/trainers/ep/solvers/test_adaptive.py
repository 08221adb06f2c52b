from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from specs.trainer_ep import Objective
from trainers.ep.block import start
from trainers.ep.relax import RelaxPolicy, advance, relax
from trainers.ep.solvers.adaptive import EPS_MAX, Pace, adaptive, even_pace


def walked(force, z, eps, steps, eps_min=1e-3):
    return adaptive(force, z, even_pace(z, eps), eps_min, steps, advance)


def test_eps_grows_while_the_force_falls():
    z, pace = walked(lambda z: -z, torch.ones(1, 1, 1), 0.1, 5)
    assert pace.eps.item() == pytest.approx(0.1 * 1.05**5)
    assert pace.lowest.item() == pytest.approx(0.1)
    assert 0 < z.item() < 1


def test_eps_halves_where_the_force_does_not_fall_down_to_its_floor():
    _, pace = walked(lambda z: z, torch.ones(1, 1, 1), 0.1, 40, eps_min=0.01)
    assert pace.lowest.item() == pytest.approx(0.01)
    assert pace.eps.item() == pytest.approx(0.01)


def test_each_sequence_has_its_own_eps():
    rates = torch.tensor([-1.0, 1.0])[:, None, None]
    _, pace = walked(lambda z: rates * z, torch.ones(2, 1, 1), 0.1, 4)
    assert pace.eps[0] > 0.1 > pace.eps[1]


def test_eps_has_a_ceiling():
    pace = Pace(
        eps=torch.full((1, 1, 1), 0.99), size=torch.full((1,), 9.0), lowest=torch.ones(1, 1, 1)
    )
    _, pace = adaptive(lambda z: -z, torch.ones(1, 1, 1), pace, 1e-3, 1, advance)
    assert pace.eps.item() == EPS_MAX


def test_an_eps_above_the_stability_limit_is_brought_below_it():
    """mu = -1 + 20i: Euler needs eps < 2 / 401, and 0.02 grows without end."""

    def force(z):
        u, v = z.unbind(-1)
        return torch.stack((-u - 20 * v, 20 * u - v), dim=-1)

    z = torch.ones(1, 1, 2, dtype=torch.float64)
    policy = RelaxPolicy(
        eps=0.02,
        T1=1,
        t1max=4000,
        tolerance=1e-12,
        check_every=10,
        objective=Objective.FIXED_POINT,
        refine=True,
        eps_min=1e-6,
    )
    fixed, adapted = (relax(force, z, replace(policy, adaptive=on)) for on in (False, True))
    assert fixed.eps_min is None
    assert fixed.z.norm() > 1e6
    assert adapted.eps_min < 2 / 401
    assert adapted.z.norm() < 0.1 * z.norm()


def test_the_residual_keeps_the_policys_eps(toy):
    t = toy(relaxation={"T1": 5, "t1max": 300, "tolerance": 1e-8, "adaptive": True})
    out = relax(t.force, start(t.block, t.x), RelaxPolicy.of(t.settings))
    assert out.eps_min is not None
    expected = 0.1 * torch.stack([t.force(out.z)[b].norm() / out.z[b].norm() for b in range(3)])
    torch.testing.assert_close(out.r_ref, expected)
    plain = relax(t.force, start(t.block, t.x), replace(RelaxPolicy.of(t.settings), adaptive=False))
    assert out.steps < plain.steps
