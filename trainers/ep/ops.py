"""The four non-linear operations of the block, on real and on complex states alike.

On complex numbers each is the holomorphic continuation of what it is on real ones: squares are u u, never |u|^2, and
the softmax is a ratio of exponentials. They are not entire: layer norm and rms norm have branch points where the
mean square vanishes, tanh has poles at i (pi/2 + k pi). Within the nudges that the estimators take both stay far;
what leaves them is noticed there.

Real states take the library's fused layer norm and attention, which know real numbers only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as nn

LN_EPS = 1e-5
RMS_EPS = 1e-6
GELU_SLOPE = math.sqrt(2 / math.pi)


def standardise(z: Tensor) -> Tensor:
    """(z - mean) / sqrt(mean (z - mean)^2 + 1e-5) along the last dimension."""
    if not z.is_complex():
        return nn.layer_norm(z, z.shape[-1:], eps=LN_EPS)
    centred = z - z.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + LN_EPS)


def qk_inverse_scale(qk: Tensor) -> Tensor:
    """1 / (rms(u) D^(1/4)) per head, so that normalised q and k need no further 1/sqrt(D)."""
    root = qk.shape[-1] ** 0.5
    return torch.rsqrt((qk * qk).sum(-1, keepdim=True) / root + root * RMS_EPS)


def gelu(u: Tensor) -> Tensor:
    """u/2 (1 + tanh(sqrt(2/pi) (u + 0.044715 u^3))).

    Without a graph on a CPU composed of vectorised operations, which take half the time of the library's one.
    """
    if not u.is_complex() and (u.is_cuda or u.requires_grad):
        return nn.gelu(u, approximate="tanh")
    t = torch.addcmul(u, u, u * u, value=0.044715).mul_(GELU_SLOPE).tanh_()
    return torch.addcmul(u, u, t).mul_(0.5)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention with scores q k^T, (..., T, D). Real: fused, first derivatives only."""
    if not q.is_complex():
        return nn.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
    return causal_softmax(q @ k.mT) @ v


def causal_softmax(scores: Tensor) -> Tensor:
    """softmax of ``scores`` (..., T, T) over the keys that are not in the future.

    Complex: exp(S - m) / sum exp(S - m), m the largest real part among the VALID scores, taken as a constant,
    which is right because any m gives the same ratio. Masked entries leave before the exponential, so that none
    of them can overflow, and once more after it. The diagonal is valid: no row is without a key.
    """
    T = scores.shape[-1]
    future = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
    if not scores.is_complex():
        return torch.softmax(scores.masked_fill(future, -math.inf), dim=-1)
    valid = scores.detach().real.masked_fill(future, -math.inf)
    shifted = scores - valid.amax(-1, keepdim=True)
    weights = torch.exp(shifted.masked_fill(future, 0)).masked_fill(future, 0)
    return weights / weights.sum(-1, keepdim=True)
