"""The attention block: its parameters and its force F(z; x) = -(z - x) + A(LN1 z) + M(LN2 z) - c z.

A is causal multi-head attention, M a GELU network of one hidden layer; both read the same state. Shapes:
B sequences, T positions, C width, H heads, D = C / H, V vocabulary. States z and inputs x are (..., T, C).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as nn

from specs.trainer_ep import EpTrainer
from trainers.ep.ops import attend, gelu, qk_inverse_scale, standardise


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

    def to(self, dtype: torch.dtype) -> Folded:
        """The same block in another arithmetic, its products plain."""
        return Folded(
            W_in=self.W_in.to(dtype),
            b_in=self.b_in.to(dtype),
            W_out=self.W_out.to(dtype),
            b_out=self.b_out.to(dtype),
            heads=self.heads,
            stiffness=self.stiffness,
            qk_norm=self.qk_norm,
        )

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


def mix(block: Folded, z: Tensor) -> Tensor:
    """A(LN1 z) + M(LN2 z), shape of z; z may be complex.

    Fused attention on real states: exact, and first derivatives only. Second derivatives: linearise.py.
    """
    T, C = z.shape[-2:]
    h = standardise(z).reshape(-1, C)
    p = _affine(block.project_in, block.times_in, h).view(-1, T, block.W_in.shape[1])
    qkv = p[..., : 3 * C].unflatten(-1, (3, block.heads, block.head_width))
    qk, v = qkv[..., :2, :, :], qkv[..., 2, :, :]
    if block.qk_norm:
        qk = qk * qk_inverse_scale(qk)
    attended = attend(
        qk[..., 0, :, :].transpose(1, 2), qk[..., 1, :, :].transpose(1, 2), v.transpose(1, 2)
    ).transpose(1, 2)
    hidden = gelu(p[..., 3 * C :])
    joined = torch.cat((attended.reshape(-1, C), hidden.reshape(-1, hidden.shape[-1])), dim=-1)
    return _affine(block.project_out, block.times_out, joined).view(z.shape)


def _affine(
    project: Callable[[Tensor], Tensor], times: Callable[[Tensor], Tensor], h: Tensor
) -> Tensor:
    """h W + b; W is real, so the imaginary part of a complex h costs one more real product."""
    if not h.is_complex():
        return project(h)
    return torch.complex(project(h.real.contiguous()), times(h.imag.contiguous()))


def force(block: Folded, z: Tensor, x: Tensor, noise: Tensor | None = None) -> Tensor:
    """F(z; x) = x - (1 + c) z + (1 + noise) mix(z), shape of z. Pure: equal arguments, equal force.

    z may be complex; x and ``noise`` (B, T, C) may broadcast over leading dimensions of z. ``noise`` is the
    multiplicative noise of analog hardware on what it computes: one realisation, drawn by the caller, which
    gives the same one to every use of a training step (relaxation, J and J^T, phases, parameter gradient).
    """
    mixed = mix(block, z)
    if noise is not None:
        mixed = mixed * (1 + noise)
    return torch.sub(x, z, alpha=block.stiffness) + mixed
