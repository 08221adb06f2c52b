from __future__ import annotations

import pytest
import torch
from torch.nn.utils import get_total_norm

from specs.trainer_ep import Hinge, JacobianScope
from trainers.ep.block import embed, fold, force
from trainers.ep.chosen import choose, self_jvp
from trainers.ep.linearise import linearise
from trainers.ep.penalties import (
    hinge_penalty,
    hinge_power,
    hinge_threshold,
    homeostatic_penalty,
    jacobian_penalty,
    residual_penalty,
)
from trainers.ep.spectrum import eigenvalues, self_blocks


def slope_and_difference(t, penalty, seed=0):
    """The penalty's gradient along a random parameter direction, and its central difference."""
    leaves = t.leaves
    gradient = torch.autograd.grad(
        penalty(leaves), leaves.of_force, allow_unused=True, materialize_grads=True
    )
    source = torch.Generator().manual_seed(seed)
    direction = [torch.randn(p.shape, generator=source, dtype=p.dtype) for p in t.params.of_force]
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))

    def at(h):
        moved = (p + h * d for p, d in zip(t.params.of_force, direction, strict=True))
        return penalty(type(t.params)(*moved, t.params.W_h))

    return slope, (at(1e-6) - at(-1e-6)) / 2e-6


def test_the_gradient_of_the_residual_penalty_is_its_difference(toy):
    t = toy()
    z = torch.randn_like(t.x)
    slope, difference = slope_and_difference(
        t, lambda p: residual_penalty(fold(p, t.settings), z, embed(p, t.idx), 0.1)
    )
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("scope", list(JacobianScope))
def test_the_gradient_of_the_jacobian_penalty_is_its_difference(toy, scope):
    t = toy()
    z, v = torch.randn_like(t.x), torch.randn_like(t.x)
    slope, difference = slope_and_difference(
        t, lambda p: jacobian_penalty(linearise(fold(p, t.settings), z), v, scope)
    )
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_the_homeostatic_penalty_is_its_difference(toy):
    t = toy()
    z, v = torch.randn_like(t.x), torch.randn_like(t.x)
    slope, difference = slope_and_difference(
        t, lambda p: homeostatic_penalty(linearise(fold(p, t.settings), z), v)
    )
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)


def test_the_mean_of_the_homeostatic_penalty_is_the_squared_asymmetry_per_element(toy, jacobian):
    """Exactly so over the basis vectors; and the loss of the paper, ||Je||^2 - e J J e, is half of it."""
    t = toy(batch=1, context=3, width=4)
    z = torch.randn_like(t.x)
    J, n = linearise(t.block, z), z.numel()
    basis = torch.eye(n, dtype=z.dtype).view(n, *z.shape)
    mean = sum(homeostatic_penalty(J, e) for e in basis)
    dense = jacobian(lambda u: force(t.block, u, t.x), z)
    torch.testing.assert_close(mean, (dense - dense.T).square().sum() / n)
    paper = sum(
        (dense @ e).square().sum() - e @ dense @ dense @ e for e in torch.eye(n, dtype=z.dtype)
    )
    torch.testing.assert_close(mean, 2 * paper / n)


@pytest.mark.parametrize("fields", [{}, {"qk_norm": False}, {"damping": 0.0}])
def test_the_gradient_of_the_hinge_is_its_difference_at_fixed_directions(toy, fields):
    t = toy(init_scale=1.0, **fields)
    z = t.fixed_point()
    hinge = Hinge(ratio=1.0, margin=0.9)
    power = hinge_power(linearise(t.block, z), torch.randn_like(z), hinge)
    assert 0 < power.active(hinge).sum() < t.idx.numel()
    penalty = hinge_penalty(t.block, z, power, hinge)
    assert penalty > 0
    slope, difference = slope_and_difference(
        t, lambda p: hinge_penalty(fold(p, t.settings), z, power, hinge)
    )
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_self_blocks_of_chosen_tokens_are_those_of_all_tokens(toy, share, qk_norm, noisy):
    t = toy(init_scale=1.0, context=9, batch=4, qk_norm=qk_norm)
    z, v = torch.randn_like(t.x), torch.randn_like(t.x)
    noise = 0.3 * torch.randn_like(t.x) if noisy else None
    mask = torch.rand(t.idx.shape) < share
    mask[2] = False
    mask[1, 3] = True
    chosen = choose(mask)
    ours = self_jvp(t.block, z, chosen, chosen.of(v), noise)
    whole = linearise(t.block, z, noise).self_jvp(v)
    torch.testing.assert_close(ours[chosen.real], chosen.of(whole)[chosen.real])
    assert int(chosen.real.sum()) == int(mask.sum())
    found = torch.zeros_like(mask)
    found[
        chosen.sequences[:, None].expand_as(chosen.tokens)[chosen.real], chosen.tokens[chosen.real]
    ] = True
    assert torch.equal(found, mask)


def test_the_hinge_over_its_active_tokens_is_the_hinge_over_all(toy):
    t = toy(init_scale=1.0)
    z = t.fixed_point()
    hinge = Hinge(ratio=1.0, margin=0.9)
    power = hinge_power(linearise(t.block, z), torch.randn_like(z), hinge)
    assert 0 < power.active(hinge).sum() < t.idx.numel()

    def of_all(params):
        J = linearise(fold(params, t.settings), z)
        growth = torch.linalg.vector_norm(power.v + hinge.eps * J.self_jvp(power.v), dim=-1)
        return torch.relu(growth - hinge_threshold(hinge)).square().mean()

    ours, theirs = t.leaves, t.leaves
    mine = hinge_penalty(fold(ours, t.settings), z, power, hinge)
    torch.testing.assert_close(mine, of_all(theirs))
    a, b = (
        torch.autograd.grad(loss, p.of_force, allow_unused=True, materialize_grads=True)
        for loss, p in ((mine, ours), (of_all(theirs), theirs))
    )
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("scope", list(JacobianScope))
def test_the_mean_of_the_jacobian_penalty_is_the_squared_norm_per_element(toy, scope):
    """Exactly so over the basis vectors, whose second moments are those of v ~ N(0, I) up to n."""
    t = toy(batch=1, context=3, width=4)
    z = torch.randn_like(t.x)
    J, n = linearise(t.block, z), z.numel()
    basis = torch.eye(n, dtype=z.dtype).view(n, *z.shape)
    mean = sum(jacobian_penalty(J, e, scope) for e in basis)
    if scope is JacobianScope.FULL:
        matrix = torch.stack([J.mix_jvp(e).flatten() for e in basis])
        expected = matrix.square().sum() / n
    else:
        stiff = t.block.stiffness * torch.eye(4, dtype=z.dtype)
        expected = (self_blocks(J) + stiff).square().sum() / n
    torch.testing.assert_close(mean, expected)


def test_the_power_steps_find_the_growth_of_the_worst_mode(toy):
    t = toy(init_scale=1.0)
    z = t.fixed_point()
    J = linearise(t.block, z)
    hinge = Hinge(power_steps=1000, eps=0.3)
    growth = hinge_power(J, torch.randn_like(z), hinge).growth
    radius = (1 + 0.3 * eigenvalues(J)).abs().amax(-1)
    real_and_dominant = 0
    for b, token in torch.cartesian_prod(torch.arange(z.shape[0]), torch.arange(z.shape[1])):
        mu = eigenvalues(J)[b, token]
        top = mu[(1 + 0.3 * mu).abs().argmax()]
        if abs(float(top.imag)) < 1e-9:
            real_and_dominant += 1
            assert float(growth[b, token]) == pytest.approx(float(radius[b, token]), rel=1e-3)
    assert real_and_dominant > 0


def test_tokens_within_the_margin_are_not_penalised(toy):
    t = toy()
    z = t.fixed_point()
    J = linearise(t.block, z)
    hinge = Hinge(ratio=1.0, margin=0.0)
    power = hinge_power(J, torch.randn_like(z), hinge)
    assert float(eigenvalues(J).real.max()) < 0
    assert not power.active(hinge).any()
    assert power.re_mu(hinge.eps) < 0


def test_the_directions_are_unit_vectors_of_every_token(toy):
    t = toy()
    power = hinge_power(linearise(t.block, t.x), torch.randn_like(t.x), Hinge())
    torch.testing.assert_close(power.v.norm(dim=-1), torch.ones(t.idx.shape, dtype=t.x.dtype))


def test_self_scope_leaves_mixing_between_tokens_unpenalised(toy):
    """A cotangent on the last token only: its full penalty reaches the past, its self penalty does not."""
    t = toy(init_scale=1.0)
    v = torch.zeros_like(t.x)
    v[:, -1] = 1.0
    J = linearise(t.block, torch.randn_like(t.x))
    assert J.mix_vjp(v)[:, :-1].abs().max() > 0
    assert not J.mix_self_vjp(v)[:, :-1].any()
    assert get_total_norm([J.mix_self_vjp(v)[:, -1]]) > 0
