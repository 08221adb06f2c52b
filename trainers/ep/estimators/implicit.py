"""From an adjoint to the gradient: the implicit function theorem at a state, and the head's own part."""

from __future__ import annotations

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params, embed, fold, force
from trainers.ep.readout import read

Gradient = tuple[Tensor, ...]


def implicit_gradient(
    params: Params,
    settings: EpTrainer,
    idx: Tensor,
    z: Tensor,
    a: Tensor,
    noise: Tensor | None = None,
) -> Gradient:
    """grad <a, F(z; x(theta), theta)> / (B T) over the parameters of the force, z and a held fixed.

    At F(z*) = 0, dz* = -J^-1 F_theta dtheta, so with J^T a = -ell this is the gradient of the mean loss at z*.
    """
    f = force(fold(params, settings), z, embed(params, idx), noise)
    return torch.autograd.grad(f, params.of_force, a.to(f.dtype) / idx.numel())


def loss_gradient(
    params: Params,
    settings: EpTrainer,
    idx: Tensor,
    y: Tensor,
    z: Tensor,
    a: Tensor,
    noise: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """The gradient of the mean loss at ``z`` in the order of Params, the head's last, and behind it the loss, ()."""
    implicit = implicit_gradient(params, settings, idx, z, a, noise)
    readout = read(params.W_h, z, y)
    return *implicit, readout.head_gradient, readout.ce
