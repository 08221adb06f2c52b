from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.trainers.ep.linear import dense_adjoint, linear_system, relative, solver
from trainers.ep.estimators.ep import ep
from trainers.ep.estimators.exact import exact
from trainers.ep.estimators.holomorphic import holomorphic
from trainers.ep.estimators.implicit import implicit_gradient
from trainers.ep.estimators.nudged import antisymmetric
from trainers.ep.estimators.rbp import rbp
from trainers.ep.estimators.record import Best
from trainers.ep.linearise import linearise
from trainers.ep.norms import per_sequence_norm
from trainers.ep.readout import cross_entropy, read
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import equilibrium, task_gradient

TIGHT = {"T1": 400, "t1max": 3000, "tolerance": 1e-14, "eps": 0.3}


@pytest.mark.parametrize("asymmetry", [0.0, 1.0, 10.0])
@pytest.mark.parametrize(
    ("estimator", "fields"),
    [
        (rbp, {}),
        (exact, {}),
        (ep, {"anchor": "track"}),
        (ep, {"anchor": "frozen"}),
        (holomorphic, {"points": 4}),
        (holomorphic, {"points": 8, "anchor": "frozen"}),
    ],
)
def test_a_linear_force_is_solved_at_any_asymmetry(estimator, fields, asymmetry):
    toy = linear_system(asymmetry)
    eps = 1 / (1 + asymmetry**2)
    out = estimator(toy, toy.root, solver(tolerance=1e-9, radius=0.5, **fields), eps)
    assert out.record.converged
    assert relative(out.a, dense_adjoint(toy.A, toy.pull)) < 1e-6


@hypothesis_settings(max_examples=20, deadline=None)
@given(scale=st.floats(-1e6, 1e6), other=st.floats(-1e6, 1e6), seed=st.integers(0, 5))
def test_the_correction_is_linear_in_the_displacement(scale, other, seed):
    toy = linear_system(10.0, seed)
    u, v = torch.randn(
        2, 1, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    combined, _ = antisymmetric(toy, scale * u + other * v)
    expected = scale * antisymmetric(toy, u)[0] + other * antisymmetric(toy, v)[0]
    assert (combined - expected).abs().max() <= 1e-9 * (1 + abs(scale) + abs(other))


def test_the_correction_is_the_antisymmetric_part_twice(toy, jacobian):
    t = toy()
    z, d = torch.randn_like(t.x), torch.randn_like(t.x)
    J = jacobian(t.force, z)
    correction, Jt_d = antisymmetric(linearise(t.block, z), d)
    torch.testing.assert_close(correction.flatten(), (J - J.T) @ d.flatten())
    torch.testing.assert_close(Jt_d.flatten(), J.T @ d.flatten())


def test_rbp_solves_the_dense_adjoint_equation(toy, jacobian):
    t = toy()
    z = t.fixed_point()
    out = rbp(t.system, z, solver(), 0.3)
    assert relative(out.a, dense_adjoint(jacobian(t.force, z), t.system.ell(z))) < 1e-10


def test_the_error_of_rbp_follows_its_law(toy, jacobian):
    """e_t = (I + eps J^T)^t e_0, at every length."""
    t = toy()
    z, eps = t.fixed_point(), 0.1
    J = jacobian(t.force, z)
    exact = dense_adjoint(J, t.system.ell(z)).flatten()
    M_T = torch.eye(len(J), dtype=J.dtype) + eps * J.T
    e_0 = (t.system.ell(z) / t.block.stiffness).flatten() - exact
    for steps in (2, 10, 40):
        a = rbp(t.system, z, solver(max_steps=steps, check_every=steps), eps).a.flatten()
        # the last of `steps` applications of J^T measures the residual of the last-but-one update
        expected = torch.linalg.matrix_power(M_T, steps - 1) @ e_0
        torch.testing.assert_close(a - exact, expected, rtol=1e-6, atol=1e-12)


def test_the_bias_of_ep_is_quadratic_in_the_radius(toy, jacobian):
    t = toy()
    z = t.fixed_point()
    exact = dense_adjoint(jacobian(t.force, z), t.system.ell(z))
    errors = [
        relative(ep(t.system, z, solver(max_steps=300, radius=r, tolerance=1e-14), 0.3).a, exact)
        for r in (0.02, 0.01, 0.005)
    ]
    assert errors[0] < 0.2
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(4, rel=0.1)


def test_ep_agrees_with_rbp_from_a_state_that_has_not_settled(toy):
    """The common mode goes on settling under the free force while the difference solves the adjoint."""
    t = toy()
    z, rough = t.fixed_point(), t.x / t.block.stiffness
    out = ep(t.system, rough, solver(max_steps=600, radius=1e-3), 0.3)
    assert relative(out.a, rbp(t.system, z, solver(), 0.3).a) < 1e-3


def test_the_state_of_both_phases_stays_within_the_radius(toy):
    t = toy()
    z = t.fixed_point()
    seen = []

    class Spy:
        stiffness, linearise, ell = t.system.stiffness, t.system.linearise, t.system.ell

        def force(self, phases):
            d = 0.5 * (phases[0] - phases[1])
            seen.append((per_sequence_norm(d) / per_sequence_norm(z)).max())
            return t.system.force(phases)

    ep(Spy(), z, solver(max_steps=60, radius=0.01, refresh_nudge=1), 0.3)
    assert max(seen) < 0.0101


@pytest.mark.parametrize("estimator", [rbp, ep, holomorphic])
@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-30])
def test_the_record_tells_the_residual_of_what_is_returned(toy, estimator, tolerance):
    t = toy()
    z = t.fixed_point()
    out = estimator(
        t.system, z, solver(max_steps=30, check_every=5, tolerance=tolerance, radius=1e-4), 0.1
    )
    ell = t.system.ell(z)
    truth = per_sequence_norm(t.system.linearise(z).vjp(out.a) + ell) / per_sequence_norm(ell)
    torch.testing.assert_close(out.record.r_adj, truth, rtol=1e-2, atol=1e-6)
    assert out.record.converged == (float(out.record.r_adj.max()) <= tolerance)
    assert out.record.steps <= 30
    assert out.record.steps % 5 == 0
    assert out.record.converged == (out.record.steps < 30 or float(truth.max()) <= tolerance)


def test_the_best_snapshot_is_kept_for_each_sequence():
    best = Best(torch.zeros(2, 1, 1), tolerance=0.1)
    for value, residuals in ((1.0, [0.5, 0.2]), (2.0, [0.9, 0.05]), (3.0, [0.4, torch.nan])):
        best.offer(torch.full((2, 1, 1), value), torch.tensor(residuals))
    out = best.result(steps=3)
    assert out.a.flatten().tolist() == [3.0, 2.0]
    assert out.record.r_adj.tolist() == pytest.approx([0.4, 0.05])
    assert not out.record.converged


@pytest.mark.parametrize("estimator", [rbp, ep])
def test_an_explosion_is_reported_and_not_converged(toy, estimator):
    t = toy()
    out = estimator(t.system, t.fixed_point(), solver(max_steps=400, check_every=400), 1e3)
    assert not out.record.converged
    assert not (out.record.r_adj <= 1).any()


def test_a_sequence_without_loss_gradient_needs_no_adjoint():
    toy = linear_system(1.0)
    silent = replace(toy, pull=torch.zeros_like(toy.pull))
    for estimator in (rbp, ep, holomorphic, exact):
        out = estimator(silent, torch.ones(1, 3, 4, dtype=torch.float64), solver(), 0.1)
        assert out.record.converged
        assert not out.a.any()


def test_the_implicit_gradient_is_that_of_the_loss_at_the_fixed_point(toy):
    """Along random parameter directions, against a finite difference of CE(z*(theta))."""
    t = toy(relaxation=TIGHT, adjoint={"max_steps": 4000, "tolerance": 1e-12, "eps": 0.3})
    task = task_gradient(t.leaves, t.settings, t.idx, t.y)

    def loss(params):
        system, relaxed = equilibrium(params, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y)
        return cross_entropy(system.W_h, relaxed.z, t.y)

    for seed in range(3):
        source = torch.Generator().manual_seed(seed)
        direction = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in t.params]
        ahead, behind = (
            loss(type(t.params)(*(p + h * d for p, d in zip(t.params, direction, strict=True))))
            for h in (1e-5, -1e-5)
        )
        slope = sum((g * d).sum() for g, d in zip(task.gradient, direction, strict=True))
        torch.testing.assert_close(slope, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("estimator", ["rbp", "ep", "exact"])
def test_a_tight_relaxation_gives_the_gradient_of_the_twin(toy, cosine, estimator):
    tight = {
        "relaxation": TIGHT | {"tolerance": 1e-9},
        "adjoint": {"max_steps": 2000, "tolerance": 1e-9, "eps": 0.3, "radius": 1e-3},
    }
    t, twin = toy(estimator=estimator, **tight), toy(estimator="bptt", **tight)
    ours = task_gradient(t.leaves, t.settings, t.idx, t.y)
    theirs = task_gradient(twin.leaves, twin.settings, twin.idx, twin.y)
    assert cosine(ours.gradient, theirs.gradient) > 0.9999
    torch.testing.assert_close(ours.ce, theirs.ce)


def test_the_head_alone_gets_the_direct_gradient(toy):
    t = toy()
    z = t.fixed_point()
    a = torch.randn_like(z)
    assert len(implicit_gradient(t.leaves, t.settings, t.idx, z, a)) == len(t.params) - 1
    leaf = t.params.W_h.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy((z @ leaf).flatten(0, 1), t.y.flatten())
    (expected,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(read(t.params.W_h, z, t.y).head_gradient, expected)
