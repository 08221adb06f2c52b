"""Penalties on the dynamics. Each takes a detached state and gives a scalar with a graph to the parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from specs.trainer_ep import Hinge, JacobianScope
from trainers.ep.block import Folded, force
from trainers.ep.chosen import choose, self_jvp
from trainers.ep.compute.plain import SelfBlocks
from trainers.ep.linearise import Linearisation


def residual_penalty(
    block: Folded, z_T1: Tensor, x: Tensor, eps: float, noise: Tensor | None = None
) -> Tensor:
    """R_F = ||eps F(z_T1)||^2, the state held fixed. Its gradient is scaled by the caller."""
    return (eps * force(block, z_T1.detach(), x, noise)).square().sum()


def jacobian_penalty(J: Linearisation, v: Tensor, scope: JacobianScope) -> Tensor:
    """R_J = mean over elements of (J_nc^T v)^2; over v ~ N(0, I) its mean is ||J_nc||_F^2 per element.

    Bai, Koltun & Kolter 2021 (arXiv 2106.14342). ``SELF``: only the self-blocks, ours: they alone decide the
    spectrum, and attention between tokens stays free.
    """
    Jt_v = J.mix_vjp(v) if scope is JacobianScope.FULL else J.mix_self_vjp(v)
    return Jt_v.square().mean()


def homeostatic_penalty(J: Linearisation, v: Tensor) -> Tensor:
    """mean over elements of ((J - J^T) v)^2; over v ~ N(0, I) its mean is ||J - J^T||_F^2 per element.

    Laborieux & Zenke 2024 (arXiv 2309.02214). The damping is symmetric and drops out.
    """
    return (J.mix_jvp(v) - J.mix_vjp(v)).square().mean()


@dataclass(frozen=True, kw_only=True)
class HingePower:
    """The outcome of the power steps, for every token."""

    v: Tensor  # (B, T, C) unit vectors per token
    growth: Tensor  # (B, T) ||v + eps J_tt v||

    def re_mu(self, eps: float) -> Tensor:
        """(growth - 1) / eps at the worst token, (): an estimate of max Re mu from below."""
        return (self.growth.max() - 1) / eps

    def active(self, settings: Hinge) -> Tensor:
        """Which tokens are above the margin, (B, T)."""
        return self.growth > hinge_threshold(settings)


def hinge_threshold(settings: Hinge) -> float:
    return 1 - settings.eps * settings.margin


@torch.no_grad()
def hinge_power(J: SelfBlocks, v: Tensor, settings: Hinge) -> HingePower:
    """``power_steps`` times v_t <- normalise(v_t + eps J_tt v_t), then the growth once more."""
    found = J.self_power(v, settings.eps, settings.power_steps)
    return HingePower(v=found.v, growth=found.growth)


def hinge_penalty(
    block: Folded, z: Tensor, power: HingePower, settings: Hinge, noise: Tensor | None = None
) -> Tensor:
    """mean over tokens of relu(||v + eps J_tt v|| - (1 - eps margin))^2, J at the state ``z``.

    The graph holds the active tokens alone, for the others add nothing; at least one must be active.
    """
    chosen = choose(power.active(settings))
    v = chosen.of(power.v)
    moved = torch.add(v, self_jvp(block, z, chosen, v, noise), alpha=settings.eps)
    excess = torch.relu(torch.linalg.vector_norm(moved, dim=-1) - hinge_threshold(settings))
    return (excess.square() * chosen.real).sum() / power.growth.numel()
