"""The gradients of the penalties, each measured by the task gradient or weighed by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params, embed, fold
from trainers.ep.draws import Purpose, normal_like
from trainers.ep.linearise import linearise
from trainers.ep.penalties import hinge_penalty, hinge_power, jacobian_penalty, residual_penalty
from trainers.ep.relax import Relaxed
from trainers.ep.task import Gradient


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """The sum of the penalty gradients over the parameters of the force, and what they measured."""

    gradient: Gradient | None
    metrics: Mapping[str, float]


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
