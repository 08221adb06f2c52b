"""Multiplicative noise of the force: one realisation a step, the same for every use of it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import get_total_norm

from trainers.ep.block import embed, fold, force, mix
from trainers.ep.draws import force_noise
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.linearise import linearise
from trainers.ep.readout import cross_entropy
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import equilibrium, task_gradient

TIGHT = {"T1": 400, "t1max": 3000, "tolerance": 1e-13, "eps": 0.3}
EXACT = {"max_steps": 400, "tolerance": 1e-11}


def noise_of(t, step=3, index=0):
    return force_noise(t.settings, t.x, step, index)


def test_noise_multiplies_what_the_block_computes(toy):
    t = toy(fnoise=0.2)
    z, noise = torch.randn_like(t.x), noise_of(t)
    expected = t.x - t.block.stiffness * z + mix(t.block, z) * (1 + noise)
    torch.testing.assert_close(force(t.block, z, t.x, noise), expected)


def test_equal_arguments_give_equal_noisy_forces(toy):
    t = toy(fnoise=0.2)
    z = torch.randn_like(t.x)
    assert torch.equal(*(force(t.block, z, t.x, noise_of(t)) for _ in range(2)))


def test_every_step_and_every_estimate_has_a_noise_of_its_own(toy):
    t = toy(fnoise=0.2)
    drawn = [noise_of(t, step, index) for step, index in ((0, 0), (1, 0), (0, 1), (10, 0), (1, 1))]
    assert all(0.1 < float(n.std()) < 0.3 for n in drawn)
    for i, one in enumerate(drawn):
        assert not any(torch.equal(one, other) for other in drawn[i + 1 :])


def test_validation_sees_the_force_itself(toy):
    assert noise_of(toy(fnoise=0.2), step=None) is None
    assert noise_of(toy()) is None


def test_with_noise_jvp_and_vjp_are_adjoint_and_those_of_the_same_realisation(toy, jacobian):
    t = toy(fnoise=0.3)
    z, noise = torch.randn_like(t.x), noise_of(t)
    J = jacobian(lambda u: force(t.block, u, t.x, noise), z)
    linear = linearise(t.block, z, noise)
    u, v = torch.randn_like(z), torch.randn_like(z)
    torch.testing.assert_close(
        (u * linear.jvp(v)).sum(), (linear.vjp(u) * v).sum(), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(linear.jvp(v).flatten(), J @ v.flatten(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(linear.vjp(u).flatten(), J.T @ u.flatten(), rtol=1e-11, atol=1e-12)
    h = 1e-6
    ahead, behind = (force(t.block, z + s * h * v, t.x, noise) for s in (1, -1))
    torch.testing.assert_close(linear.jvp(v), (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-6)
    self_adjoint = (u * linear.self_jvp(v)).sum() - (linear.mix_self_vjp(u) * v).sum()
    torch.testing.assert_close(self_adjoint, -t.block.stiffness * (u * v).sum())


@pytest.mark.parametrize("estimator", ["exact", "rbp", "bptt"])
def test_the_gradient_is_that_of_the_noisy_equilibrium(toy, estimator):
    """Against a finite difference of the loss at the root of the same realisation."""
    t = toy(
        fnoise=0.2,
        estimator=estimator,
        relaxation=TIGHT,
        adjoint=EXACT | {"eps": 0.3, "max_steps": 4000},
    )
    task = task_gradient(t.leaves, t.settings, t.idx, t.y, step=3)

    def loss(params):
        policy = RelaxPolicy.of(t.settings)
        system, relaxed = equilibrium(params, t.settings, policy, t.idx, t.y, noise=noise_of(t))
        return cross_entropy(system.W_h, relaxed.z, t.y)

    source = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in t.params]
    ahead, behind = (
        loss(type(t.params)(*(p + h * d for p, d in zip(t.params, direction, strict=True))))
        for h in (1e-5, -1e-5)
    )
    slope = sum((g * d).sum() for g, d in zip(task.gradient, direction, strict=True))
    torch.testing.assert_close(slope, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(task.ce, loss(t.params))


def test_an_average_is_the_mean_of_estimates_with_noises_of_their_own(toy):
    common = {"fnoise": 0.2, "estimator": "exact", "relaxation": TIGHT}
    t = toy(**common, adjoint=EXACT | {"average": 3})
    averaged = task_gradient(t.leaves, t.settings, t.idx, t.y, step=3)
    single = toy(**common, adjoint=EXACT)
    first = task_gradient(single.leaves, single.settings, single.idx, single.y, step=3)
    assert averaged.adjoint.steps > first.adjoint.steps
    assert averaged.adjoint.converged
    torch.testing.assert_close(averaged.relaxed.z, first.relaxed.z)
    parts = []
    for index in range(3):
        block, x = fold(t.params, t.settings), embed(t.params, t.idx)
        system = BlockSystem(block=block, W_h=t.params.W_h, x=x, y=t.y, noise=noise_of(t, 3, index))
        root = equilibrium(
            t.params, t.settings, RelaxPolicy.of(t.settings), t.idx, t.y, noise=system.noise
        )[1].z
        assert system.force(root).abs().max() < 1e-11
        parts.append(cross_entropy(t.params.W_h, root, t.y))
    torch.testing.assert_close(averaged.ce, torch.stack(parts).mean())


def test_averaging_brings_the_estimate_nearer_to_its_mean(toy, cosine):
    def spread(average):
        t = toy(
            fnoise=0.2,
            estimator="exact",
            relaxation={"T1": 100, "t1max": 300},
            adjoint=EXACT | {"average": average},
        )
        found = [
            task_gradient(t.leaves, t.settings, t.idx, t.y, step=step).gradient for step in range(3)
        ]
        mean = [sum(parts) / len(found) for parts in zip(*found, strict=True)]
        return sum(
            float(get_total_norm([a - b for a, b in zip(g, mean, strict=True)])) for g in found
        )

    assert spread(9) < 0.6 * spread(1)
