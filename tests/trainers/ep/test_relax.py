from __future__ import annotations

import pytest
import torch

from specs.trainer_ep import Objective
from trainers.ep.block import force, start
from trainers.ep.estimators.bptt import bptt
from trainers.ep.relax import RelaxPolicy, relax, step_residual
from trainers.ep.task import equilibrium, task_gradient


def test_every_named_residual_belongs_to_its_state(toy):
    t = toy(relaxation={"T1": 5, "t1max": 200, "tolerance": 1e-8})
    out = relax(t.force, start(t.block, t.x), RelaxPolicy.of(t.settings))
    torch.testing.assert_close(out.r_T1, step_residual(t.force, out.z_T1, 0.1))
    torch.testing.assert_close(out.r_ref, step_residual(t.force, out.z_ref, 0.1))
    assert (out.r_T1 > 100 * out.r_ref).all()


def test_a_step_residual_is_eps_times_the_force_residual_per_sequence(toy):
    t = toy()
    z = torch.randn_like(t.x)
    for eps in (0.1, 0.01):
        expected = torch.stack(
            [eps * f.norm() / u.norm() for f, u in zip(t.force(z), z, strict=True)]
        )
        torch.testing.assert_close(step_residual(t.force, z, eps), expected)


@pytest.mark.parametrize(
    ("tolerance", "t1max", "steps", "hit_cap"),
    [(1e9, 40, 20, False), (1e-30, 40, 40, True), (1e-30, 33, 33, True), (1e-30, 20, 20, True)],
)
def test_refinement_ends_at_the_tolerance_or_at_the_cap(toy, tolerance, t1max, steps, hit_cap):
    t = toy(relaxation={"T1": 20, "t1max": t1max, "tolerance": tolerance, "check_every": 10})
    calls = 0

    def counted(z):
        nonlocal calls
        calls += 1
        return t.force(z)

    out = relax(counted, start(t.block, t.x), RelaxPolicy.of(t.settings))
    assert (out.steps, out.hit_cap) == (steps, hit_cap)
    measured = 1 + -(-(steps - 20) // 10)
    assert calls == steps + measured


def test_the_worst_sequence_decides_when_to_stop(toy):
    t = toy(relaxation={"T1": 1, "t1max": 500, "tolerance": 1e-6, "check_every": 1})
    out = relax(t.force, start(t.block, t.x), RelaxPolicy.of(t.settings))
    assert out.r_ref.max() <= 1e-6
    alone = []
    for b in range(len(t.x)):
        x = t.x[b : b + 1]
        single = relax(
            lambda z, x=x: force(t.block, z, x), start(t.block, x), RelaxPolicy.of(t.settings)
        )
        alone.append(single.steps)
    assert out.steps == max(alone)


@pytest.mark.parametrize("objective", list(Objective))
def test_training_validation_and_the_twin_take_the_loss_at_the_same_state(toy, objective):
    t = toy(objective=objective.value, relaxation={"T1": 7, "t1max": 60, "tolerance": 1e-6})
    evaluated = equilibrium(t.params, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y)[1]
    trained = task_gradient(t.leaves, t.settings, t.idx, t.y).relaxed
    twin = bptt(t.leaves, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y).relaxed
    assert evaluated.steps == trained.steps == twin.steps
    assert evaluated.steps == 7 or objective is Objective.FIXED_POINT
    torch.testing.assert_close(trained.z, evaluated.z)
    torch.testing.assert_close(twin.z, evaluated.z)


def test_measuring_refines_but_the_finite_objective_stays_at_T1(toy):
    t = toy(objective="finite_T", relaxation={"T1": 3, "t1max": 100, "tolerance": 1e-8})
    out = relax(t.force, start(t.block, t.x), RelaxPolicy.of(t.settings, measure=True))
    assert out.steps > 3
    assert out.z is out.z_T1


def test_a_state_that_is_no_number_ends_the_refinement(toy):
    t = toy(relaxation={"T1": 2, "t1max": 10_000, "tolerance": 1e-6})
    out = relax(lambda z: z * torch.nan, t.x, RelaxPolicy.of(t.settings))
    assert out.steps == 2
    assert out.hit_cap
