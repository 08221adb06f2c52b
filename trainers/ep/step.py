"""The gradient of one training step: task part, gates, penalties, in that order.

The gates drop the task part only. Penalties act regardless: they are what brings a run back whose task gradient
can not be trusted, and then they are measured by the last task gradient that could.

Numbers come to the host twice a step: once for what the gates and the hinge decide, once for the total.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params
from trainers.ep.compute.plain import PLAIN, Plain
from trainers.ep.draws import force_noise
from trainers.ep.estimators.implicit import Gradient
from trainers.ep.penalise import Modes, modes, penalty_gradient
from trainers.ep.relax import RelaxPolicy
from trainers.ep.task import Task, task_gradient
from trainers.finite import blame
from trainers.host import to_host
from trainers.protocol import NonFinite


@dataclass(frozen=True, kw_only=True)
class StepGradient:
    """The whole gradient in the order of Params; ``accepted_norm`` scales the penalties of a gated step."""

    gradient: Gradient
    norm: float  # of the whole gradient, finite
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
    engine: Plain = PLAIN,
) -> StepGradient:
    """The gradient of training step ``step`` (from 0) at ``params``, which must require grad.

    ``accepted_norm`` is the norm, over the parameters of the force, of the last task gradient that passed the
    gates; zero before the first. Then penalties are scaled by the clip: a warm start past the loss of contraction
    has no gradient to trust until they have brought it back. Raises NonFinite, naming the tensors, where loss,
    parameters or total gradient are not finite.
    """
    task = task_gradient(params, settings, idx, y, engine, step=step)
    noise = force_noise(settings, task.relaxed.z, step)
    worst = modes(params, settings, task.relaxed.z, step, noise, engine)
    seen = to_host(_measured(params, settings, task, worst))
    gates = {name: seen.pop(name) for name in ("worst_r_adj", "parameters") if name in seen}
    for metric, value in (
        ("train/ce", seen["train/ce"]),
        ("residual/T1", seen["residual/T1"]),
        ("the norm of the parameters", gates["parameters"]),
    ):
        if not math.isfinite(value):
            raise _not_finite(metric, value, step, _at_hand(params, task))
    used = _passes(seen, gates.get("worst_r_adj"), settings)
    accepted_norm = seen["train/task_grad_norm"] if used else accepted_norm
    hinged = worst.power if worst and worst.penalised and seen["train/hinge_active"] > 0 else None
    penalties = penalty_gradient(
        params,
        settings,
        idx,
        task.relaxed,
        step=step,
        jr=jr,
        scale=accepted_norm or settings.optimizer.clip,
        hinged=hinged,
        noise=noise,
    )
    gradient = _total(task.gradient, penalties.gradient, used=used)
    late = to_host({"norm": get_total_norm(gradient), **penalties.metrics})
    norm = late.pop("norm")
    if not math.isfinite(norm):
        raise _not_finite("train/grad_norm", norm, step, _gradients(params, gradient))
    return StepGradient(
        gradient=gradient,
        norm=norm,
        accepted_norm=accepted_norm,
        r_T1=seen["residual/T1"],
        metrics={**seen, "train/task_used": float(used), **late},
    )


def _measured(
    params: Params, settings: EpTrainer, task: Task, worst: Modes | None
) -> dict[str, Tensor | float]:
    """What is known before any decision, still on the device; two of them decide and are no metrics."""
    relaxed, adjoint = task.relaxed, task.adjoint
    seen: dict[str, Tensor | float] = {
        "train/ce": task.ce,
        "train/task_grad_norm": get_total_norm(task.gradient[:-1]),
        "residual/T1": relaxed.r_T1.mean(),
        "relax/steps": relaxed.steps,
        "parameters": get_total_norm([t.detach() for t in params]),
    }
    if RelaxPolicy.of(settings).refine:
        seen["residual/refined"] = relaxed.r_ref.mean()
        seen["relax/hit_cap"] = float(relaxed.hit_cap)
    if relaxed.eps_min is not None:
        seen["relax/eps_min"] = relaxed.eps_min
    if adjoint is not None:
        seen["residual/adjoint"] = adjoint.r_adj.mean()
        seen["adjoint/steps"] = adjoint.steps
        seen["adjoint/converged"] = float(adjoint.converged)
        seen["worst_r_adj"] = adjoint.r_adj.max()
        if adjoint.fell_back is not None:
            seen["adjoint/fell_back"] = float(adjoint.fell_back)
    return seen if worst is None else {**seen, **worst.metrics(settings)}


def _passes(seen: Mapping[str, float], worst_r_adj: float | None, settings: EpTrainer) -> bool:
    """Is the task gradient finite, its adjoint within the gate and its state within the residual gate?"""
    if not math.isfinite(seen["train/task_grad_norm"]):
        return False
    if worst_r_adj is not None and not worst_r_adj <= settings.adjoint.gate:
        return False
    return settings.res_gate == 0 or seen["residual/T1"] <= settings.res_gate


def _total(task: Gradient, penalties: Gradient | None, *, used: bool) -> Gradient:
    total = task if used else tuple(torch.zeros_like(g) for g in task)
    if penalties is None:
        return total
    return (*torch._foreach_add(total[:-1], penalties), total[-1])


def _not_finite(
    metric: str, value: float, step: int, tensors: Iterator[tuple[str, Tensor]]
) -> NonFinite:
    said = f"{metric} is {value} in training step {step + 1}: {blame(tensors)}"
    return NonFinite(said, {metric: value} if "/" in metric else {})


def _at_hand(params: Params, task: Task) -> Iterator[tuple[str, Tensor]]:
    """Parameters and states, in the order in which one would spoil the next."""
    yield from ((f"the parameter {name}", t) for name, t in params._asdict().items())
    yield "the state after T1 steps", task.relaxed.z_T1
    yield "the refined state", task.relaxed.z_ref


def _gradients(params: Params, gradient: Gradient) -> Iterator[tuple[str, Tensor]]:
    yield from (
        (f"the gradient of {name}", g) for name, g in zip(params._fields, gradient, strict=True)
    )
