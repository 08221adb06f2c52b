"""Self-blocks at chosen tokens only: what the spectral hinge differentiates.

Few tokens are ever above the hinge's margin. Their J_tt need the keys and values of their own sequences and nothing
else of the batch, so a graph over them costs a small part of one over every token (`linearise.py`). Tests hold the
two against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as nn

from trainers.ep.block import Folded
from trainers.ep.linearise import gelu_slope
from trainers.ep.ops import LN_EPS, qk_inverse_scale


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """S sequences, M tokens of each; where a sequence has fewer, ``real`` is False and the token any other."""

    sequences: Tensor  # (S,)
    tokens: Tensor  # (S, M)
    real: Tensor  # (S, M) bool

    def of(self, t: Tensor) -> Tensor:
        """The chosen rows of ``t`` (B, T, n): (S, M, n)."""
        return t[self.sequences[:, None], self.tokens]


def choose(mask: Tensor) -> Chosen:
    """The tokens at which ``mask`` (B, T) is True; at least one must be."""
    counts = mask.sum(-1)
    sequences = counts.nonzero()[:, 0]
    most = int(counts.max())
    tokens = mask[sequences].to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :most]
    return Chosen(sequences=sequences, tokens=tokens, real=mask[sequences[:, None], tokens])


def self_jvp(
    block: Folded, z: Tensor, chosen: Chosen, w: Tensor, noise: Tensor | None = None
) -> Tensor:
    """J_tt w_t at the chosen tokens of the state ``z`` (B, T, C), which is detached; w and result (S, M, C).

    Built under grad it carries the graph to the parameters.
    """
    C, H = block.width, block.heads
    x_hat, _, rstd = torch.native_layer_norm(z.detach()[chosen.sequences], (C,), None, None, LN_EPS)
    at = chosen.tokens[..., None]
    own_hat = x_hat.gather(1, at.expand(-1, -1, C))
    kv = nn.linear(x_hat, block.W_in[:, C : 3 * C].T, block.b_in[C : 3 * C])
    k, v = _heads(kv[..., :C], H), _heads(kv[..., C:], H)
    q = _heads(nn.linear(own_hat, block.W_in[:, :C].T, block.b_in[:C]), H)
    u = nn.linear(own_hat, block.W_in[:, 3 * C :].T, block.b_in[3 * C :])
    dp = _layer_norm_tangent(own_hat, rstd.gather(1, at), w) @ block.W_in
    dq, dk, dv = (_heads(part, H) for part in dp[..., : 3 * C].split(C, dim=-1))
    here = chosen.tokens[:, None, :, None]  # (S, 1, M, 1): of heads and of keys
    if block.qk_norm:
        q, dq = _normalise(q, dq)
        own = k.gather(2, here.expand(-1, H, -1, k.shape[-1]))
        dk = _normalise(own, dk)[1]
        k = k * qk_inverse_scale(k)
    future = torch.arange(z.shape[1], device=z.device) > here
    P = torch.softmax((q @ k.mT).masked_fill(future, -math.inf), dim=-1)
    own_index = here.expand(-1, H, -1, -1)
    dS = (dq @ k.mT).scatter_add(-1, own_index, (q * dk).sum(-1, keepdim=True))
    weighted = P * dS
    mixed = (weighted - P * weighted.sum(-1, keepdim=True)) @ v + P.gather(-1, own_index) * dv
    joined = torch.cat((mixed.transpose(1, 2).flatten(-2), dp[..., 3 * C :] * gelu_slope(u)), -1)
    out = joined @ block.W_out
    if noise is not None:
        out = out * (1 + chosen.of(noise))
    return out - block.stiffness * w


def _heads(p: Tensor, heads: int) -> Tensor:
    """(S, n, C) -> (S, H, n, D)."""
    return p.unflatten(-1, (heads, -1)).transpose(1, 2)


def _layer_norm_tangent(x_hat: Tensor, rstd: Tensor, w: Tensor) -> Tensor:
    """(w - mean w - x_hat mean(x_hat w)) / std."""
    along = (x_hat * w).mean(-1, keepdim=True)
    return (w - w.mean(-1, keepdim=True) - x_hat * along) * rstd


def _normalise(u: Tensor, du: Tensor) -> tuple[Tensor, Tensor]:
    """u over its rms per head, and the derivative of that along ``du``."""
    scale = qk_inverse_scale(u)
    n = u * scale
    along = (n * du).sum(-1, keepdim=True) / math.sqrt(u.shape[-1])
    return n, (du - n * along) * scale
