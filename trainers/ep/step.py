"""The gradient of one training step: task part, gates, penalties, in that order.

The gates drop the task part only. Penalties act regardless: they are what brings a run back whose task gradient
can not be trusted, and then they are measured by the last task gradient that could.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params
from trainers.ep.penalise import penalty_gradient
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import Gradient, Task, task_gradient


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
