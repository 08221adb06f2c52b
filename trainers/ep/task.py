"""The task gradient of one batch: the free phase, the adjoint, and what follows from both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer, Estimator
from trainers.ep.block import Params, embed, fold, force, start
from trainers.ep.estimators.bptt import bptt
from trainers.ep.estimators.ep import ep
from trainers.ep.estimators.rbp import rbp
from trainers.ep.estimators.record import Adjoint, AdjointRecord
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.readout import read
from trainers.ep.relax import Relaxed, RelaxPolicy, relax

Gradient = tuple[Tensor, ...]

ADJOINT: Mapping[Estimator, Callable[..., Adjoint]] = {Estimator.RBP: rbp, Estimator.EP: ep}


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task gradient in the order of Params, and how it was come by."""

    gradient: Gradient
    ce: Tensor
    relaxed: Relaxed
    adjoint: AdjointRecord | None  # None for bptt


def task_gradient(params: Params, settings: EpTrainer, idx: Tensor, y: Tensor) -> Task:
    """The gradient of the mean cross-entropy at the objective's state, by the estimator of the settings."""
    policy = RelaxPolicy.of(settings)
    if settings.estimator is Estimator.BPTT:
        unrolled = bptt(params, settings, policy, idx, y)
        return Task(
            gradient=unrolled.gradient, ce=unrolled.ce, relaxed=unrolled.relaxed, adjoint=None
        )
    system, relaxed = equilibrium(params, settings, policy, idx, y)
    adjoint = solve_adjoint(system, relaxed.z, settings)
    readout = read(params.W_h, relaxed.z, y)
    implicit = implicit_gradient(params, settings, idx, relaxed.z, adjoint.a)
    return Task(
        gradient=(*implicit, readout.head_gradient),
        ce=readout.ce,
        relaxed=relaxed,
        adjoint=adjoint.record,
    )


@torch.no_grad()
def equilibrium(
    params: Params, settings: EpTrainer, policy: RelaxPolicy, idx: Tensor, y: Tensor
) -> tuple[BlockSystem, Relaxed]:
    """The block at these parameters, relaxed on a batch."""
    block, x = fold(params, settings), embed(params, idx)
    relaxed = relax(lambda z: force(block, z, x), start(block, x), policy)
    return BlockSystem(block=block, W_h=params.W_h, x=x, y=y), relaxed


def solve_adjoint(system: BlockSystem, z: Tensor, settings: EpTrainer) -> Adjoint:
    """J^T a = -ell at ``z`` by the estimator of the settings; by `rbp` for the BPTT twin, which has none."""
    eps = settings.adjoint.eps or settings.relaxation.eps
    return ADJOINT.get(settings.estimator, rbp)(system, z, settings.adjoint, eps)


def implicit_gradient(
    params: Params, settings: EpTrainer, idx: Tensor, z: Tensor, a: Tensor
) -> Gradient:
    """grad <a, F(z; x(theta), theta)> / (B T) over the parameters of the force, z and a held fixed.

    At F(z*) = 0, dz* = -J^-1 F_theta dtheta, so with J^T a = -ell this is the gradient of the mean loss at z*.
    """
    f = force(fold(params, settings), z, embed(params, idx))
    return torch.autograd.grad(f, params.of_force, a / idx.numel())
