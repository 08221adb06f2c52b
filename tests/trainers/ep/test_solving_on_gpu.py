"""Complex phases, GMRES, Anderson and Newton on CUDA against the CPU. Needs an NVIDIA GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from specs.trainer_ep import Solver
from tests.trainers.ep.linear import relative, solver
from trainers.ep.block import force, start
from trainers.ep.estimators.exact import exact
from trainers.ep.estimators.holomorphic import holomorphic
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.relax import RelaxPolicy, relax
from trainers.ep.solvers.newton import newton

pytestmark = pytest.mark.gpu


def on_gpu(system: BlockSystem, dtype: torch.dtype = torch.float32) -> BlockSystem:
    there = system.to(dtype)
    tensors = {
        name: getattr(there.block, name).cuda() for name in ("W_in", "b_in", "W_out", "b_out")
    }
    return BlockSystem(
        block=replace(there.block, **tensors),
        W_h=there.W_h.cuda(),
        x=there.x.cuda(),
        y=there.y.cuda(),
    )


def test_the_complex_force_is_that_of_the_cpu(toy):
    t = toy(width=32, heads=4, context=16)
    z = torch.complex(torch.randn_like(t.x), 0.05 * torch.randn_like(t.x))
    there = on_gpu(t.system)
    found = force(there.block, z.to("cuda", torch.complex64), there.x)
    torch.testing.assert_close(
        found.cpu().to(z.dtype), force(t.block, z, t.x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("points", [2, 4, 8])
def test_phases_find_the_adjoint_in_single_precision(toy, points):
    t = toy(width=32, heads=4, context=16)
    z = t.fixed_point()
    a = exact(t.system, z, solver(), 0.3).a
    settings = solver(max_steps=200, check_every=10, radius=0.01, points=points, tolerance=2e-3)
    out = holomorphic(on_gpu(t.system), z.to("cuda", torch.float32), settings, 0.3)
    assert out.record.converged
    assert out.record.fell_back is False
    assert relative(out.a.cpu().double(), a) < 5e-3


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_gmres_finds_the_adjoint(toy, precision, tolerance):
    t = toy(width=32, heads=4, context=16)
    z = t.fixed_point()
    a = exact(t.system, z, solver(), 0.3).a
    settings = solver(tolerance=tolerance, precision=precision)
    out = exact(on_gpu(t.system), z.to("cuda", torch.float32), settings, 0.3)
    assert out.record.converged
    assert relative(out.a.cpu().double(), a) < 1e-3


def test_anderson_and_newton_reach_the_equilibrium(toy):
    t = toy(width=32, heads=4, context=16)
    there = on_gpu(t.system)
    z = start(there.block, there.x)
    policy = replace(RelaxPolicy.of(t.settings), solver=Solver.ANDERSON, tolerance=1e-6, t1max=200)
    out = relax(there.force, z, policy)
    assert not out.hit_cap
    assert relative(out.z.cpu().double(), t.fixed_point()) < 1e-4
    root = newton(there, z, tolerance=1e-5)
    assert root.found.all()
    assert relative(root.z.cpu().double(), t.fixed_point()) < 1e-4
