"""The attention block: its parameters and its force F(z; x) = -(z - x) + A(LN1 z) + M(LN2 z) - c z.

A is causal multi-head attention, M a GELU network of one hidden layer; both read the same state. Shapes:
B sequences, T positions, C width, H heads, D = C / H, V vocabulary. States z and inputs x are (..., T, C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as nn

from specs.trainer_ep import EpTrainer

LN_EPS = 1e-5
RMS_EPS = 1e-6
GELU_SLOPE = math.sqrt(2 / math.pi)


class Params(NamedTuple):
    """Every trained tensor. ``W_h`` alone is no part of the force."""

    E: Tensor  # (V, C)
    pos: Tensor  # (T, C)
    ln1_gain: Tensor  # (C,)
    ln1_bias: Tensor
    ln2_gain: Tensor
    ln2_bias: Tensor
    W_Q: Tensor  # (C, C)
    W_K: Tensor
    W_V: Tensor
    W_O: Tensor
    W_1: Tensor  # (C, f C)
    b_1: Tensor
    W_2: Tensor  # (f C, C)
    b_2: Tensor
    W_h: Tensor  # (C, V)

    @property
    def of_force(self) -> tuple[Tensor, ...]:
        """All but the head: what F depends on."""
        return self[:-1]


@dataclass(frozen=True, kw_only=True)
class Folded:
    """The block with LN gains, LN biases and 1/sqrt(D) multiplied into two matrices.

    Both layer norms see the same z, so one normalisation and one product feed attention and MLP alike,
    and one product gathers them. Differentiable in the parameters.
    """

    W_in: Tensor  # (C, 3C + f C): q, k, v, hidden
    b_in: Tensor
    W_out: Tensor  # (C + f C, C)
    b_out: Tensor  # (C,)
    heads: int
    stiffness: float  # 1 + c: the total damping
    qk_norm: bool

    @property
    def width(self) -> int:
        return self.W_out.shape[-1]

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def project_in(self, h: Tensor) -> Tensor:
        """h W_in + b_in, (N, C) -> (N, 3C + f C)."""
        return torch.addmm(self.b_in, h, self.W_in)

    def project_out(self, joined: Tensor) -> Tensor:
        """joined W_out + b_out, (N, C + f C) -> (N, C)."""
        return torch.addmm(self.b_out, joined, self.W_out)

    def times_in(self, w: Tensor) -> Tensor:
        """w W_in, (..., C) -> (..., 3C + f C)."""
        return w @ self.W_in

    def times_out(self, w: Tensor) -> Tensor:
        """w W_out, (..., C + f C) -> (..., C)."""
        return w @ self.W_out

    def back_in(self, a: Tensor) -> Tensor:
        """a W_in^T, (..., 3C + f C) -> (..., C)."""
        return a @ self.W_in.mT

    def back_out(self, a: Tensor) -> Tensor:
        """a W_out^T, (..., C) -> (..., C + f C)."""
        return a @ self.W_out.mT


def init(
    settings: EpTrainer,
    vocabulary: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Params:
    """Random parameters: matrices N(0, 1/fan_in), W_O and W_2 times ``init_scale``, x of unit variance.

    A small W_O and W_2 keep the Jacobian near -(1 + c) I at the start; x of unit variance keeps the gain of
    the layer norms, which is 1/std(z), near one.
    """
    C, F, T = settings.width, settings.width * settings.ffn_factor, settings.context

    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype) * std

    def matrix(fan_in: int, fan_out: int, scale: float = 1.0) -> Tensor:
        return normal(fan_in, fan_out, std=scale * fan_in**-0.5)

    def ones() -> Tensor:
        return torch.ones(C, dtype=dtype)

    def zeros(size: int) -> Tensor:
        return torch.zeros(size, dtype=dtype)

    return Params(
        E=normal(vocabulary, C, std=0.5**0.5),
        pos=normal(T, C, std=0.5**0.5),
        ln1_gain=ones(),
        ln1_bias=zeros(C),
        ln2_gain=ones(),
        ln2_bias=zeros(C),
        W_Q=matrix(C, C),
        W_K=matrix(C, C),
        W_V=matrix(C, C),
        W_O=matrix(C, C, settings.init_scale),
        W_1=matrix(C, F),
        b_1=zeros(F),
        W_2=matrix(F, C, settings.init_scale),
        b_2=zeros(C),
        W_h=matrix(C, vocabulary),
    )


def fold(params: Params, settings: EpTrainer) -> Folded:
    """The block ready for repeated use. Exact: F(fold(p), z, x) is the force of p."""
    qkv = torch.cat((params.W_Q, params.W_K, params.W_V), dim=1)
    if not settings.qk_norm:
        qkv = _scale_query_key(qkv, settings)
    return Folded(
        W_in=torch.cat((params.ln1_gain[:, None] * qkv, params.ln2_gain[:, None] * params.W_1), 1),
        b_in=torch.cat((params.ln1_bias @ qkv, params.ln2_bias @ params.W_1 + params.b_1)),
        W_out=torch.cat((params.W_O, params.W_2)),
        b_out=params.b_2,
        heads=settings.heads,
        stiffness=1.0 + settings.damping,
        qk_norm=settings.qk_norm,
    )


def _scale_query_key(qkv: Tensor, settings: EpTrainer) -> Tensor:
    scale = torch.ones(3 * settings.width, dtype=qkv.dtype, device=qkv.device)
    scale[: 2 * settings.width] = (settings.width // settings.heads) ** -0.25
    return qkv * scale


def embed(params: Params, idx: Tensor) -> Tensor:
    """x = E[idx] + pos, (B, T, C)."""
    return nn.embedding(idx, params.E) + params.pos[: idx.shape[1]]


def start(block: Folded, x: Tensor) -> Tensor:
    """z_0 = x / (1 + c): the equilibrium of a block without attention and MLP."""
    return x / block.stiffness


def qk_inverse_scale(qk: Tensor) -> Tensor:
    """1 / (rms(u) D^(1/4)) per head, so that normalised q and k need no further 1/sqrt(D)."""
    root = qk.shape[-1] ** 0.5
    return torch.rsqrt((qk * qk).sum(-1, keepdim=True) / root + root * RMS_EPS)


def gelu(u: Tensor) -> Tensor:
    """u/2 (1 + tanh(sqrt(2/pi) (u + 0.044715 u^3))).

    Without a graph on a CPU composed of vectorised operations, which take half the time of the library's one.
    """
    if u.is_cuda or u.requires_grad:
        return nn.gelu(u, approximate="tanh")
    t = torch.addcmul(u, u, u * u, value=0.044715).mul_(GELU_SLOPE).tanh_()
    return torch.addcmul(u, u, t).mul_(0.5)


def mix(block: Folded, z: Tensor) -> Tensor:
    """A(LN1 z) + M(LN2 z), shape of z.

    Fused attention: exact, and first derivatives only. Second derivatives: linearise.py.
    """
    T, C = z.shape[-2:]
    h = nn.layer_norm(z, (C,), eps=LN_EPS).reshape(-1, C)
    p = block.project_in(h).view(-1, T, block.W_in.shape[1])
    qkv = p[..., : 3 * C].unflatten(-1, (3, block.heads, block.head_width))
    qk, v = qkv[..., :2, :, :], qkv[..., 2, :, :]
    if block.qk_norm:
        qk = qk * qk_inverse_scale(qk)
    attended = nn.scaled_dot_product_attention(
        qk[..., 0, :, :].transpose(1, 2),
        qk[..., 1, :, :].transpose(1, 2),
        v.transpose(1, 2),
        is_causal=True,
        scale=1.0,
    ).transpose(1, 2)
    hidden = gelu(p[..., 3 * C :])
    joined = torch.cat((attended.reshape(-1, C), hidden.reshape(-1, hidden.shape[-1])), dim=-1)
    return block.project_out(joined).view(z.shape)


def force(block: Folded, z: Tensor, x: Tensor) -> Tensor:
    """F(z; x), shape of z. Pure; x may broadcast over leading dimensions of z."""
    return torch.sub(x, z, alpha=block.stiffness) + mix(block, z)
