"""``python -m tests.bench.solving``: what the solvers take, in evaluations, and the estimators' bias. No times.

Counts and errors depend on nothing but the seed: fresh blocks at three sizes of J_nc, in double on one CPU thread.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from specs.trainer_ep import Adjoint, EpTrainer, Solver
from trainers.ep.block import embed, fold, init, start
from trainers.ep.estimators.exact import exact
from trainers.ep.estimators.holomorphic import holomorphic
from trainers.ep.estimators.rbp import rbp
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.relax import RelaxPolicy, relax

VOCABULARY = 50


def main() -> None:
    torch.set_num_threads(1)
    print("init_scale  tolerance  forces: Euler eps .1, Anderson")
    for scale in (0.1, 0.5, 1.0):
        for tolerance in (1e-4, 1e-7):
            print(f"{scale:10}  {tolerance:9.0e}  {_forces(scale, tolerance)}")
    print("init_scale  tolerance  applications of J^T: rbp eps .1, exact")
    for scale in (0.1, 0.5, 1.0):
        system, z = _equilibrium(scale)
        for tolerance in (1e-2, 1e-4, 1e-8):
            print(f"{scale:10}  {tolerance:9.0e}  {_applications(system, z, tolerance)}")
    print("points  relative error of a at radius .04, .02, .01 (init_scale .5)")
    system, z = _equilibrium(0.5)
    for points in (2, 4, 8):
        errors = [_error(system, z, points, radius) for radius in (0.04, 0.02, 0.01)]
        print(f"{points:6}  {', '.join(f'{e:.1e}' for e in errors)}")


def _system(scale: float) -> tuple[BlockSystem, RelaxPolicy]:
    settings = EpTrainer(
        kind="ep", width=64, heads=4, context=32, batch=6, init_scale=scale, device="cpu"
    )
    source = torch.Generator().manual_seed(0)
    params = init(settings, VOCABULARY, source, torch.float64)
    words = torch.randint(VOCABULARY, (6, 33), generator=source)
    block, x = fold(params, settings), embed(params, words[:, :-1])
    system = BlockSystem(block=block, W_h=params.W_h, x=x, y=words[:, 1:])
    return system, replace(RelaxPolicy.of(settings), T1=1, t1max=5000, check_every=1)


def _equilibrium(scale: float) -> tuple[BlockSystem, Tensor]:
    system, policy = _system(scale)
    policy = replace(policy, solver=Solver.ANDERSON, tolerance=1e-13)
    return system, relax(system.force, start(system.block, system.x), policy).z


def _forces(scale: float, tolerance: float) -> str:
    system, policy = _system(scale)
    found = [
        relax(
            system.force,
            start(system.block, system.x),
            replace(policy, tolerance=tolerance, solver=solver),
        )
        for solver in (Solver.EULER, Solver.ANDERSON)
    ]
    return ", ".join("not reached" if out.hit_cap else str(out.steps) for out in found)


def _applications(system: BlockSystem, z: Tensor, tolerance: float) -> str:
    settings = Adjoint(tolerance=tolerance, max_steps=5000, check_every=1)
    records = [estimator(system, z, settings, 0.1).record for estimator in (rbp, exact)]
    return ", ".join(str(r.steps) if r.converged else "not reached" for r in records)


def _error(system: BlockSystem, z: Tensor, points: int, radius: float) -> float:
    truth = exact(system, z, Adjoint(tolerance=1e-12, max_steps=5000), 0.1).a
    settings = Adjoint(tolerance=1e-14, max_steps=300, points=points, radius=radius)  # type: ignore[arg-type]
    found = holomorphic(system, z, settings, 0.4).a
    return float((found - truth).norm() / truth.norm())


if __name__ == "__main__":
    main()
