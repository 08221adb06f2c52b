"""The gradients of the penalties, each measured by the task gradient or weighed by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params, embed, fold
from trainers.ep.compute.plain import PLAIN, Plain
from trainers.ep.draws import Purpose, normal_like
from trainers.ep.estimators.implicit import Gradient
from trainers.ep.linearise import Linearisation, linearise
from trainers.ep.penalties import (
    HingePower,
    hinge_penalty,
    hinge_power,
    homeostatic_penalty,
    jacobian_penalty,
    residual_penalty,
)
from trainers.ep.relax import Relaxed


@dataclass(frozen=True, kw_only=True)
class Modes:
    """The power steps of one training step: the hinge's, or only looked at."""

    power: HingePower
    penalised: bool

    def metrics(self, settings: EpTrainer) -> dict[str, Tensor]:
        re_mu = self.power.re_mu(settings.hinge.eps)
        if not self.penalised:
            return {"spectrum/estimate": re_mu}
        active = self.power.active(settings.hinge).double().mean()
        estimate = {"spectrum/estimate": re_mu} if settings.spectrum.estimate_every else {}
        return {"train/hinge_active": active, "train/hinge_re_mu": re_mu, **estimate}


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """The sum of the penalty gradients over the parameters of the force, and what they measured."""

    gradient: Gradient | None
    metrics: Mapping[str, Tensor | float]


@torch.no_grad()
def modes(
    params: Params,
    settings: EpTrainer,
    z: Tensor,
    step: int,
    noise: Tensor | None = None,
    engine: Plain = PLAIN,
) -> Modes | None:
    """The worst directions at ``z``, in steps in which the hinge or the estimate is due; else nothing is computed.

    Every k-th means the k-th, the 2k-th and so on, as in the log; ``step`` counts from 0. The hinge looks at the
    first `hinge.sequences` of the batch, which is as random a choice as any.
    """
    due = [
        every > 0 and (step + 1) % every == 0
        for every in (settings.hinge.every, settings.spectrum.estimate_every)
    ]
    penalised = settings.hinge.ratio > 0 and due[0]
    if not penalised and not due[1]:
        return None
    if penalised and settings.hinge.sequences:
        z = z[: settings.hinge.sequences]
        noise = None if noise is None else noise[: settings.hinge.sequences]
    purpose = Purpose.HINGE if penalised else Purpose.ESTIMATE
    v = normal_like(z, settings.seed, step, purpose)
    with torch.no_grad():
        J = engine.jacobian(fold(params, settings), z, noise)
    power = hinge_power(J, v, settings.hinge)
    return Modes(power=power, penalised=penalised)


def penalty_gradient(
    params: Params,
    settings: EpTrainer,
    idx: Tensor,
    relaxed: Relaxed,
    *,
    step: int,
    jr: float,
    scale: float,
    hinged: HingePower | None = None,
    noise: Tensor | None = None,
) -> Penalties:
    """jr grad R_J + w grad R_S + resreg scale grad R_F / ||grad R_F|| + the hinge's gradient, scaled likewise.

    With `jacreg.ratio`, grad R_J is scaled likewise too, and ``jr`` is 0.

    ``hinged``: directions of which at least one token is active. ``noise``: the step's realisation, if any.
    """
    block, parts = fold(params, settings), list[Gradient]()
    metrics: dict[str, Tensor | float] = {}
    if settings.resreg > 0:
        x, eps = embed(params, idx), settings.relaxation.eps
        R_F = residual_penalty(block, relaxed.z_T1, x, eps, noise)
        metrics["train/resreg"] = R_F.detach()
        parts.append(_to_norm(_gradient(R_F, params), settings.resreg * scale))
    ratio = settings.jacreg.ratio
    if jr > 0 or settings.homeostasis > 0 or ratio > 0:
        J = linearise(block, relaxed.z, noise)
        if ratio > 0:
            R_J = _jacobian(J, settings, relaxed.z, step)
            parts.append(_to_norm(_gradient(R_J, params), ratio * scale))
        if jr > 0 or settings.homeostasis > 0:
            weighed, measured = _weighed(J, settings, relaxed.z, step, jr)
            metrics |= measured
            parts.append(_gradient(weighed, params))
    if hinged is not None:
        R_H = hinge_penalty(block, relaxed.z, hinged, settings.hinge, noise)
        parts.append(_to_norm(_gradient(R_H, params), settings.hinge.ratio * scale))
    return Penalties(gradient=_sum(parts) if parts else None, metrics=metrics)


def _jacobian(J: Linearisation, settings: EpTrainer, z: Tensor, step: int) -> Tensor:
    v = normal_like(z, settings.seed, step, Purpose.JACREG)
    return jacobian_penalty(J, v, settings.jacreg.scope)


def _weighed(
    J: Linearisation, settings: EpTrainer, z: Tensor, step: int, jr: float
) -> tuple[Tensor, dict[str, Tensor | float]]:
    """jr R_J + homeostasis R_S on one linearisation, and what each is."""
    loss = z.new_zeros(())
    metrics: dict[str, Tensor | float] = {}
    if jr > 0:
        loss = loss + jr * _jacobian(J, settings, z, step)
        metrics["train/jr"] = jr
    if settings.homeostasis > 0:
        R_S = homeostatic_penalty(J, normal_like(z, settings.seed, step, Purpose.HOMEOSTASIS))
        loss = loss + settings.homeostasis * R_S
        metrics["train/homeostasis"] = R_S.detach()
    return loss, metrics


def _gradient(loss: Tensor, params: Params) -> Gradient:
    return torch.autograd.grad(
        loss, params.of_force, retain_graph=True, allow_unused=True, materialize_grads=True
    )


def _to_norm(gradient: Gradient, size: float) -> Gradient:
    """The gradient at norm ``size``; zero stays zero, for it has no direction."""
    norm = get_total_norm(gradient)
    factor = torch.where(norm > 0, size / norm, torch.zeros_like(norm))
    return tuple(torch._foreach_mul(gradient, factor))


def _sum(parts: Sequence[Gradient]) -> Gradient:
    total = parts[0]
    for part in parts[1:]:
        total = tuple(torch._foreach_add(total, part))
    return total
