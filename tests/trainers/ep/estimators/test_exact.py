from __future__ import annotations

import pytest
import torch

from tests.trainers.ep.linear import dense_adjoint, relative, solver
from trainers.ep.estimators.exact import exact
from trainers.ep.estimators.rbp import rbp
from trainers.ep.norms import per_sequence_norm
from trainers.ep.task import task_gradient


@pytest.mark.parametrize("restart", [5, 40])
def test_exact_is_the_dense_solution(toy, jacobian, restart):
    t = toy(init_scale=1.0)
    z = t.fixed_point()
    out = exact(t.system, z, solver(restart=restart, tolerance=1e-10), 0.1)
    assert out.record.converged
    assert relative(out.a, dense_adjoint(jacobian(t.force, z), t.system.ell(z))) < 1e-8


def test_it_takes_fewer_applications_than_the_iteration(toy):
    t = toy(width=32, heads=4, context=12, init_scale=1.0)
    z = t.fixed_point()
    settings = solver(tolerance=1e-4, check_every=1)
    krylov, plain = (estimator(t.system, z, settings, 0.1) for estimator in (exact, rbp))
    assert krylov.record.converged and plain.record.converged
    assert krylov.record.steps < 0.5 * plain.record.steps
    assert relative(krylov.a, plain.a) < 1e-2


def test_double_precision_on_request_whatever_the_state_has(toy, jacobian):
    t = toy()
    single = t.system.to(torch.float32)
    z = t.fixed_point().float()
    settings = solver(tolerance=1e-12, max_steps=200)
    rounded = exact(single, z, settings, 0.1)
    assert not rounded.record.converged
    out = exact(single, z, solver(tolerance=1e-12, max_steps=200, precision="float64"), 0.1)
    assert out.record.converged
    assert out.a.dtype is torch.float64
    double = single.to(torch.float64)
    J = jacobian(double.force, z.double())
    assert relative(out.a, dense_adjoint(J, double.ell(z.double()))) < 1e-10


def test_double_precision_adjoints_serve_single_precision_parameters(toy):
    t = toy(
        estimator="exact", adjoint={"precision": "float64", "tolerance": 1e-10, "max_steps": 200}
    )
    leaves = type(t.params)(*(p.float().requires_grad_() for p in t.params))
    task = task_gradient(leaves, t.settings, t.idx, t.y)
    assert task.adjoint.converged
    assert {g.dtype for g in task.gradient} == {torch.float32}


@pytest.mark.parametrize("max_steps", [1, 2, 7])
def test_what_the_budget_does_not_allow_is_not_converged(toy, max_steps):
    t = toy()
    z = t.fixed_point()
    out = exact(t.system, z, solver(max_steps=max_steps), 0.1)
    ell = t.system.ell(z)
    truth = per_sequence_norm(t.system.linearise(z).vjp(out.a) + ell) / per_sequence_norm(ell)
    assert not out.record.converged
    assert out.record.steps <= max_steps
    torch.testing.assert_close(out.record.r_adj, truth)
