from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from trainers.ep.block import fold, force, mix
from trainers.ep.linearise import gelu_slope, linearise
from trainers.ep.ops import gelu


@pytest.mark.parametrize("qk_norm", [True, False])
def test_jvp_and_vjp_are_those_of_automatic_differentiation(toy, jacobian, qk_norm):
    t = toy(qk_norm=qk_norm)
    z, w = torch.randn_like(t.x), torch.randn_like(t.x)
    J = jacobian(t.force, z)
    linear = linearise(t.block, z)
    torch.testing.assert_close(linear.jvp(w).flatten(), J @ w.flatten(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(linear.vjp(w).flatten(), J.T @ w.flatten(), rtol=1e-11, atol=1e-12)


def test_the_forward_derivative_agrees(toy):
    t = toy()
    z, w = torch.randn_like(t.x), torch.randn_like(t.x)
    with sdpa_kernel(SDPBackend.MATH):
        _, expected = torch.func.jvp(t.force, (z,), (w,))
    torch.testing.assert_close(linearise(t.block, z).jvp(w), expected, rtol=1e-11, atol=1e-12)


def test_jvp_and_vjp_are_adjoint_to_each_other(toy):
    t = toy(width=12, heads=3)
    linear = linearise(t.block, torch.randn_like(t.x))
    for _ in range(5):
        u, v = torch.randn_like(t.x), torch.randn_like(t.x)
        torch.testing.assert_close((u * linear.jvp(v)).sum(), (linear.vjp(u) * v).sum())
        torch.testing.assert_close(
            (u * linear.mix_self_jvp(v)).sum(), (linear.mix_self_vjp(u) * v).sum()
        )


def test_the_jvp_is_the_limit_of_finite_differences(toy):
    t = toy()
    z, w, h = torch.randn_like(t.x), torch.randn_like(t.x), 1e-6
    difference = (t.force(z + h * w) - t.force(z - h * w)) / (2 * h)
    torch.testing.assert_close(linearise(t.block, z).jvp(w), difference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_self_maps_are_the_block_diagonal_part_of_the_jacobian(toy, jacobian, qk_norm):
    t = toy(qk_norm=qk_norm)
    C, tokens = t.settings.width, t.idx.numel()
    z, w = torch.randn_like(t.x), torch.randn_like(t.x)
    J_nc = jacobian(lambda u: mix(t.block, u), z).reshape(tokens, C, tokens, C)
    blocks = J_nc[torch.arange(tokens), :, torch.arange(tokens)]
    linear, vectors = linearise(t.block, z), w.reshape(tokens, C, 1)
    forward, backward = (blocks @ vectors)[..., 0], (blocks.mT @ vectors)[..., 0]
    torch.testing.assert_close(linear.mix_self_jvp(w).reshape(tokens, C), forward)
    torch.testing.assert_close(linear.mix_self_vjp(w).reshape(tokens, C), backward)


def test_tangents_may_lead(toy):
    linear = linearise((t := toy()).block, torch.randn_like(t.x))
    many = torch.randn(4, *t.x.shape, dtype=t.x.dtype)
    for method in (linear.jvp, linear.self_jvp):
        torch.testing.assert_close(method(many)[2], method(many[2]))


@pytest.mark.parametrize("direction", ["mix_jvp", "mix_vjp", "mix_self_jvp", "mix_self_vjp"])
def test_the_graph_to_the_parameters_is_that_of_the_force(toy, direction):
    """Gradient of <u, J w> along a parameter direction, against a finite difference of the force's own Jacobian."""
    t = toy()
    z, u, w = (torch.randn_like(t.x) for _ in range(3))
    leaves = t.leaves
    value = (u * getattr(linearise(fold(leaves, t.settings), z), direction)(w)).sum()
    gradient = torch.autograd.grad(
        value, leaves.of_force, materialize_grads=True, allow_unused=True
    )
    direction_in_theta = [torch.randn_like(p) for p in leaves.of_force]
    slope = sum((g * d).sum() for g, d in zip(gradient, direction_in_theta, strict=True))

    def at(h):
        moved = [p + h * d for p, d in zip(t.params.of_force, direction_in_theta, strict=True)]
        block = fold(type(t.params)(*moved, t.params.W_h), t.settings)
        return (u * getattr(linearise(block, z), direction)(w)).sum()

    h = 1e-4  # of fourth order in h: the third derivative along a random direction can be of the order of 1e4
    difference = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-7)


def test_the_composed_gelu_is_the_librarys():
    u = torch.linspace(-8, 8, 201, dtype=torch.float64)
    expected = torch.nn.functional.gelu(u, approximate="tanh")
    torch.testing.assert_close(gelu(u), expected, rtol=1e-13, atol=1e-15)


def test_the_slope_of_gelu_is_its_derivative():
    u = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(torch.nn.functional.gelu(u, approximate="tanh").sum(), u)
    torch.testing.assert_close(gelu_slope(u.detach()), expected, rtol=1e-12, atol=1e-14)


def test_the_jacobian_differs_from_its_transpose(toy):
    """Without this every test of the correction would be empty."""
    t = toy()
    linear, w = linearise(t.block, torch.randn_like(t.x)), torch.randn_like(t.x)
    skew = linear.jvp(w) - linear.vjp(w)
    assert skew.norm() > 0.05 * linear.mix_jvp(w).norm()
    assert torch.isfinite(force(t.block, w, t.x)).all()
