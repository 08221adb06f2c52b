from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from specs.trainer_ep import Solver
from tests.trainers.ep.linear import linear_system
from trainers.ep.block import force, start
from trainers.ep.relax import RelaxPolicy, relax, step_residual
from trainers.ep.solvers.anderson import Anderson


def both(t, **fields):
    """(Euler's outcome, Anderson's) by one policy."""
    policy = replace(RelaxPolicy.of(t.settings), **{"check_every": 1, "T1": 1, **fields})
    z = start(t.block, t.x)
    return tuple(
        relax(t.force, z, replace(policy, solver=s)) for s in (Solver.EULER, Solver.ANDERSON)
    )


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_anderson_reaches_eulers_equilibrium_with_fewer_forces(toy, tolerance, scale):
    t = toy(width=32, heads=4, context=12, init_scale=scale)
    euler, anderson = both(t, t1max=2000, tolerance=tolerance)
    assert not euler.hit_cap
    assert not anderson.hit_cap
    assert anderson.steps < 0.5 * euler.steps
    gap = (anderson.z - euler.z).norm() / euler.z.norm()
    assert gap < 300 * tolerance
    assert anderson.r_ref.max() <= tolerance


def test_steps_are_evaluations_of_the_force_and_never_above_the_cap(toy):
    t = toy()
    calls = 0

    def counted(z):
        nonlocal calls
        calls += 1
        return t.force(z)

    policy = replace(
        RelaxPolicy.of(t.settings),
        solver=Solver.ANDERSON,
        T1=7,
        t1max=25,
        check_every=10,
        tolerance=1e-30,
    )
    out = relax(counted, start(t.block, t.x), policy)
    assert (out.steps, calls, out.hit_cap) == (25, 25, True)


def test_the_residual_that_is_reported_is_that_of_the_state(toy):
    t = toy(init_scale=1.0)
    _, out = both(t, T1=9, t1max=60, tolerance=1e-12)
    torch.testing.assert_close(out.r_ref, step_residual(t.force, out.z_ref, 0.1))
    torch.testing.assert_close(out.r_T1, step_residual(t.force, out.z_T1, 0.1))
    assert (out.r_ref < out.r_T1).all()


def test_a_tolerance_reached_early_ends_the_first_phase_too(toy):
    t = toy()
    _, out = both(t, T1=400, t1max=800, tolerance=1e-6)
    assert out.steps < 100
    assert torch.equal(out.z_T1, out.z_ref)


def test_a_mixture_that_is_worse_is_replaced_by_a_plain_step_from_where_it_started():
    """The force lies at every mixture: three times a plain one, in the place that was asked for."""
    seen = []

    def lying(z):
        honest = 1.0 - z
        seen.append(z.clone())
        return honest if len(seen) == 1 else 3 * honest.sign()

    z = torch.zeros(1, 1, 1, dtype=torch.float64)
    search = Anderson(z, memory=3, regularisation=1e-8, mixing=0.5, eps=0.1)
    search.advance(lying, 3)
    assert seen[1].item() == pytest.approx(0.5)  # mixed: z + mixing F
    assert seen[2].item() == pytest.approx(0.1)  # back at zero, and a plain step
    assert search.z.item() == pytest.approx(0.1)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_the_regularisation_is_relative(scale):
    """An absolute one would drown a small F, or do nothing to a large one. A linear system scaled is the same."""
    base = linear_system(2.0)
    system = replace(base, b=scale * base.b)
    search = Anderson(
        torch.zeros_like(system.b), memory=12, regularisation=1e-10, mixing=0.5, eps=0.1
    )
    search.advance(system.force, 25)
    expected = system.root
    assert float((search.z - expected).norm() / expected.norm()) < 1e-6


def test_sequences_are_mixed_apart(toy):
    t = toy(init_scale=1.0)
    search = Anderson(start(t.block, t.x), memory=5, regularisation=1e-8, mixing=0.5, eps=0.1)
    search.advance(t.force, 20)
    for b in range(len(t.x)):
        x = t.x[b : b + 1]
        alone = Anderson(start(t.block, x), memory=5, regularisation=1e-8, mixing=0.5, eps=0.1)
        alone.advance(lambda z, x=x: force(t.block, z, x), 20)
        torch.testing.assert_close(search.z[b : b + 1], alone.z, rtol=1e-7, atol=1e-9)


def test_a_sequence_that_is_no_number_spoils_no_other(toy):
    t = toy()
    z = start(t.block, t.x)
    z[1] = torch.nan
    search = Anderson(z, memory=5, regularisation=1e-8, mixing=0.5, eps=0.1)
    search.advance(t.force, 30)
    r = search.residual(0.1)
    assert r[1].isnan()
    assert r[[0, 2]].max() < 1e-6


def test_a_force_of_exactly_zero_stays_where_it_is():
    z = torch.ones(2, 3, 4)
    search = Anderson(z, memory=3, regularisation=1e-8, mixing=0.5, eps=0.1)
    search.advance(torch.zeros_like, 5)
    assert torch.equal(search.z, z)
    assert search.residual(0.1).tolist() == [0, 0]
