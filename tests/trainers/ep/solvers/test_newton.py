from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from tests.trainers.ep.linear import linear_system
from trainers.ep.block import start
from trainers.ep.linearise import linearise
from trainers.ep.relax import euler, step_residual
from trainers.ep.solvers.newton import newton
from trainers.ep.spectrum import eigenvalues


def test_newton_finds_the_root_of_an_unstable_equilibrium_that_euler_leaves(toy):
    """A block past its Hopf bifurcation: Euler circles for ever, its mean is near the root, no eps would help."""
    t = toy(seed=2, init_scale=1.2)
    z = euler(t.force, start(t.block, t.x), 0.1, 600)
    mean = torch.zeros_like(z)
    for _ in range(600):
        z = z + 0.1 * t.force(z)
        mean += z / 600
    assert step_residual(t.force, z, 0.1).max() > 1e-2
    out = newton(t.system, mean, tolerance=1e-10)
    assert out.found.all(), str(out)
    assert eigenvalues(linearise(t.block, out.z)).real.max() > 0
    left = euler(t.force, out.z + 1e-6 * torch.ones_like(z), 0.01, 6000)
    assert step_residual(t.force, left, 0.1).max() > 1e-3


def test_from_a_stable_equilibrium_newton_ends_where_euler_does(toy):
    t = toy()
    out = newton(t.system, start(t.block, t.x), tolerance=1e-10)
    assert out.found.all()
    torch.testing.assert_close(out.z, t.fixed_point(), rtol=1e-7, atol=1e-9)
    assert out.iterations < 10


def test_the_residual_is_the_force_over_the_state(toy):
    t = toy()
    out = newton(t.system, start(t.block, t.x), tolerance=1e-30, max_iterations=3)
    g = torch.stack([t.force(out.z)[b].norm() / out.z[b].norm() for b in range(3)])
    torch.testing.assert_close(out.g, g)
    assert not out.found.any()


def test_a_linear_root_takes_the_steps_that_its_linear_systems_leave():
    toy = linear_system(10.0)
    out = newton(toy, torch.ones_like(toy.b), tolerance=1e-12)
    assert out.found.all()
    torch.testing.assert_close(out.z, toy.root)


@dataclass(frozen=True)
class Rootless:
    """F(z) = z^2 + height: a root only where height <= 0."""

    height: torch.Tensor
    stiffness: float = 1.0

    def force(self, z):
        return z * z + self.height

    def linearise(self, z):
        return Slope(2 * z)


@dataclass(frozen=True)
class Slope:
    at: torch.Tensor

    def jvp(self, w):
        return self.at * w


def test_where_there_is_no_root_it_says_how_near_it_came():
    height = torch.tensor([1.0, -4.0], dtype=torch.float64)[:, None, None]
    out = newton(Rootless(height), torch.full((2, 1, 1), 3.0, dtype=torch.float64), tolerance=1e-10)
    assert out.found.tolist() == [False, True]
    assert out.z[1].item() == pytest.approx(2.0)
    assert str(out).startswith("no root found for 1 of 2 sequences")
    assert out.iterations < 50
