"""The head: logits = z W_h, cross-entropy, and what it pulls the state towards.

The nudge is the gradient of the SUM of the token losses: that of the mean is smaller by B T, and in fp32 the
displacement it causes drowns in the rounding of z. The division by B T comes last, in the parameter gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Readout:
    """What the head says about a state."""

    ce: Tensor  # () mean cross-entropy, nats per token
    ell: Tensor  # (B, T, C) gradient of the summed cross-entropy with respect to z
    head_gradient: Tensor  # (C, V) gradient of the mean with respect to W_h


@torch.no_grad()
def read(W_h: Tensor, z: Tensor, y: Tensor) -> Readout:
    """Loss, nudge and head gradient at ``z`` for targets ``y`` (B, T)."""
    error, ce = _error(W_h, z, y)
    return Readout(
        ce=ce,
        ell=error @ W_h.mT,
        head_gradient=z.flatten(0, 1).mT @ error.flatten(0, 1) / y.numel(),
    )


@torch.no_grad()
def nudge(W_h: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy with respect to z."""
    return _error(W_h, z, y)[0] @ W_h.mT


@torch.no_grad()
def cross_entropy(W_h: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy in nats per token."""
    return torch.nn.functional.cross_entropy((z @ W_h).flatten(0, 1), y.flatten())


def _error(W_h: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """softmax - onehot, and the mean cross-entropy."""
    log_p = torch.log_softmax(z @ W_h, dim=-1)
    at = y[..., None]
    ce = -log_p.gather(-1, at).mean()
    error = log_p.exp()
    return error.scatter_add_(-1, at, torch.full_like(at, -1, dtype=error.dtype)), ce
