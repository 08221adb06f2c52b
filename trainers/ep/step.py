"""The gradient of one training step: task part, gates, penalties, in that order.

The gates drop the task part only. Penalties act regardless: they are what brings a run back whose task gradient
can not be trusted, and then they are measured by the last task gradient that could.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from specs.trainer_ep import EpTrainer, Estimator
from trainers.ep.block import Params, embed, fold, force, start
from trainers.ep.draws import Purpose, normal_like
from trainers.ep.estimators.bptt import bptt
from trainers.ep.estimators.ep import ep
from trainers.ep.estimators.rbp import rbp
from trainers.ep.estimators.record import Adjoint, AdjointRecord
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.linearise import linearise
from trainers.ep.penalties import hinge_penalty, hinge_power, jacobian_penalty, residual_penalty
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


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """The sum of the penalty gradients over the parameters of the force, and what they measured."""

    gradient: Gradient | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class StepGradient:
    """The whole gradient in the order of Params; ``accepted_norm`` scales the penalties of a gated step."""

    gradient: Gradient
    accepted_norm: float
    r_T1: float
    metrics: Mapping[str, float]


def step_gradient(
    params: Params,
    settings: EpTrainer,
    idx: Tensor,
    y: Tensor,
    *,
    step: int,
    jr: float,
    accepted_norm: float,
) -> StepGradient:
    """The gradient of training step ``step`` (from 0) at ``params``, which must require grad.

    ``accepted_norm`` is the norm, over the parameters of the force, of the last task gradient that passed the
    gates; zero before the first.
    """
    task = task_gradient(params, settings, idx, y)
    norm = float(get_total_norm(task.gradient[:-1]))
    used = _passes(task, norm, settings)
    if used:
        accepted_norm = norm
    penalties = penalty_gradient(
        params, settings, idx, task.relaxed, step=step, jr=jr, scale=accepted_norm
    )
    r_T1 = float(task.relaxed.r_T1.mean())
    metrics = {
        "train/ce": float(task.ce),
        "train/task_grad_norm": norm,
        "train/task_used": float(used),
        "residual/T1": r_T1,
        "relax/steps": float(task.relaxed.steps),
        **_optional(task, settings),
        **penalties.metrics,
    }
    gradient = _total(task.gradient, penalties.gradient, used=used)
    return StepGradient(gradient=gradient, accepted_norm=accepted_norm, r_T1=r_T1, metrics=metrics)


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


def penalty_gradient(
    params: Params,
    settings: EpTrainer,
    idx: Tensor,
    relaxed: Relaxed,
    *,
    step: int,
    jr: float,
    scale: float,
) -> Penalties:
    """jr grad R_J + resreg scale grad R_F / ||grad R_F|| + the hinge's gradient, scaled likewise."""
    hinge = settings.hinge
    hinge_on = hinge.ratio > 0 and step % hinge.every == 0
    metrics: dict[str, float] = {}
    parts: list[Gradient] = []
    block = fold(params, settings)
    if settings.resreg > 0:
        R_F = residual_penalty(block, relaxed.z_T1, embed(params, idx), settings.relaxation.eps)
        metrics["train/resreg"] = float(R_F.detach())
        parts += _to_norm(_gradient(R_F, params, keep=True), settings.resreg * scale)
    if jr > 0 or hinge_on:
        J = linearise(block, relaxed.z)
    if jr > 0:
        metrics["train/jr"] = jr
        v = normal_like(relaxed.z, settings.seed, step, Purpose.JACREG)
        R_J = jacobian_penalty(J, v, settings.jacreg.scope)
        parts.append(_gradient(jr * R_J, params, keep=True))
    if hinge_on:
        v = normal_like(relaxed.z, settings.seed, step, Purpose.HINGE)
        power = hinge_power(J, v, hinge)
        metrics["train/hinge_active"] = power.active(hinge)
        metrics["train/hinge_re_mu"] = power.re_mu(hinge.eps)
        if metrics["train/hinge_active"] > 0:
            R_H = hinge_penalty(J, power.v, hinge)
            parts += _to_norm(_gradient(R_H, params, keep=False), hinge.ratio * scale)
    return Penalties(gradient=_sum(parts) if parts else None, metrics=metrics)


def _gradient(loss: Tensor, params: Params, *, keep: bool) -> Gradient:
    return torch.autograd.grad(
        loss, params.of_force, retain_graph=keep, allow_unused=True, materialize_grads=True
    )


def _to_norm(gradient: Gradient, size: float) -> list[Gradient]:
    """The gradient at norm ``size``; nothing where it is zero, for then it has no direction."""
    norm = float(get_total_norm(gradient))
    return [tuple(torch._foreach_mul(gradient, size / norm))] if norm > 0 else []


def _sum(parts: Sequence[Gradient]) -> Gradient:
    total = parts[0]
    for part in parts[1:]:
        total = tuple(torch._foreach_add(total, part))
    return total


def _total(task: Gradient, penalties: Gradient | None, *, used: bool) -> Gradient:
    total = task if used else tuple(torch.zeros_like(g) for g in task)
    if penalties is None:
        return total
    return (*torch._foreach_add(total[:-1], penalties), total[-1])


def _passes(task: Task, norm: float, settings: EpTrainer) -> bool:
    """Is the task gradient finite, its adjoint within the gate and its state within the residual gate?"""
    if not math.isfinite(norm):
        return False
    if task.adjoint is not None and not float(task.adjoint.r_adj.max()) <= settings.adjoint.gate:
        return False
    return settings.res_gate == 0 or float(task.relaxed.r_T1.mean()) <= settings.res_gate


def _optional(task: Task, settings: EpTrainer) -> dict[str, float]:
    """Metrics of what this run has: a refinement, an adjoint."""
    metrics: dict[str, float] = {}
    if RelaxPolicy.of(settings).refine:
        metrics["residual/refined"] = float(task.relaxed.r_ref.mean())
        metrics["relax/hit_cap"] = float(task.relaxed.hit_cap)
    if task.adjoint is not None:
        metrics["residual/adjoint"] = float(task.adjoint.r_adj.mean())
        metrics["adjoint/steps"] = float(task.adjoint.steps)
        metrics["adjoint/converged"] = float(task.adjoint.converged)
    return metrics
