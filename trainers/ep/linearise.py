"""The Jacobian of the force at a fixed state: J v, J^T a and their self-blocks, written out.

J = -(1 + c) I + J_nc. Written out rather than differentiated because the estimators apply J hundreds of times at
one state, because fused attention has no forward derivative, and because an expression of J^T a in the parameters
turns the double backward of the Jacobian penalties into a single one. Tests hold it against automatic
differentiation of `block.force`.

Self-blocks: G_t(u; z) is the force at token t with its own q, k, v taken from u_t and the keys and values of the
past taken from the frozen z. J_tt = dG_t/du. Causality makes J block lower-triangular over positions, so the
spectrum of J is the union of the spectra of the J_tt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.block import Folded
from trainers.ep.ops import GELU_SLOPE, LN_EPS, causal_softmax, qk_inverse_scale
from trainers.ep.power import Power, power
from trainers.ep.solvers.arnoldi import PlainArnoldi


@dataclass(frozen=True, kw_only=True)
class Linearisation:
    """Factors of J at one state; tangents are (..., B, T, C), heads run as (B, H, T, D).

    Built under grad it carries the graph to the parameters; the state itself is taken as constant.
    """

    block: Folded
    x_hat: Tensor  # (B, T, C) normalised state
    rstd: Tensor  # (B, T, 1)
    qk: Tensor  # (2, B, H, T, D) as they enter the scores
    qk_scale: Tensor | None  # (2, B, H, T, 1); None without qk_norm
    v: Tensor  # (B, H, T, D)
    P: Tensor  # (B, H, T, T) attention weights
    slope: Tensor  # (B, T, f C) derivative of GELU
    gain: Tensor | None = None  # (B, T, C) 1 + noise of the force; None without noise

    def jvp(self, w: Tensor) -> Tensor:
        """J w."""
        return self.mix_jvp(w) - self.block.stiffness * w

    def vjp(self, a: Tensor) -> Tensor:
        """J^T a."""
        return self.mix_vjp(a) - self.block.stiffness * a

    def self_jvp(self, w: Tensor) -> Tensor:
        """J_tt w_t at every token."""
        return self.mix_self_jvp(w) - self.block.stiffness * w

    def mix_jvp(self, w: Tensor) -> Tensor:
        """J_nc w."""
        dqk, dv, du = self._tangents_in(w)
        dS = dqk[0] @ self.qk[1].mT + self.qk[0] @ dqk[1].mT
        return self._gather(self._softmax(dS) @ self.v + self.P @ dv, du)

    def vjp_arnoldi(self) -> PlainArnoldi:
        """Krylov bases of J^T."""
        return PlainArnoldi(self.vjp)

    def self_power(self, v: Tensor, eps: float, steps: int) -> Power:
        """`trainers.ep.power.power` of the self-blocks."""
        return power(self.self_jvp, v, eps, steps)

    def mix_vjp(self, a: Tensor) -> Tensor:
        """J_nc^T a."""
        ao, au = self._cotangents_in(a)
        dS = self._softmax(ao @ self.v.mT)
        dqk = torch.stack((dS @ self.qk[1], dS.mT @ self.qk[0]))
        return self._scatter(dqk, self.P.mT @ ao, au)

    def mix_self_jvp(self, w: Tensor) -> Tensor:
        """The self-blocks of J_nc on w_t at every token."""
        dqk, dv, du = self._tangents_in(w)
        dS = dqk[0] @ self.qk[1].mT + torch.diag_embed((self.qk[0] * dqk[1]).sum(-1))
        return self._gather(self._softmax(dS) @ self.v + self._own_weight() * dv, du)

    def mix_self_vjp(self, a: Tensor) -> Tensor:
        """The transposed self-blocks of J_nc on a_t at every token."""
        ao, au = self._cotangents_in(a)
        dS = self._softmax(ao @ self.v.mT)
        own = dS.diagonal(dim1=-2, dim2=-1)[..., None]
        dqk = torch.stack((dS @ self.qk[1], own * self.qk[0]))
        return self._scatter(dqk, self._own_weight() * ao, au)

    def _own_weight(self) -> Tensor:
        return self.P.diagonal(dim1=-2, dim2=-1)[..., None]

    def _softmax(self, dS: Tensor) -> Tensor:
        """P (dS - <P, dS>): the derivative of softmax is symmetric, so it serves both directions."""
        weighted = self.P * dS
        return torch.addcmul(weighted, self.P, weighted.sum(-1, keepdim=True), value=-1)

    def _layer_norm(self, w: Tensor) -> Tensor:
        """(w - mean w - x_hat mean(x_hat w)) / std: symmetric as well."""
        along = (self.x_hat * w).mean(-1, keepdim=True)
        return torch.addcmul(w - w.mean(-1, keepdim=True), self.x_hat, along, value=-1) * self.rstd

    def _qk_norm(self, dqk: Tensor) -> Tensor:
        """Derivative of u rms(u)^-1 per head: symmetric as well."""
        if self.qk_scale is None:
            return dqk
        qk, scale = self.qk, self.qk_scale
        if dqk.dim() > qk.dim():  # leading tangent dimensions stand between the pair and B
            between = (2,) + (1,) * (dqk.dim() - qk.dim())
            qk = qk.reshape(between + qk.shape[1:])
            scale = scale.reshape(between + scale.shape[1:])
        along = (qk * dqk).sum(-1, keepdim=True) / math.sqrt(qk.shape[-1])
        return torch.addcmul(dqk, qk, along, value=-1) * scale

    def _tangents_in(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        C = self.block.width
        p = self.block.times_in(self._layer_norm(w))
        qkv = _split_heads(p[..., : 3 * C], self.block.heads)
        return self._qk_norm(qkv[:2]), qkv[2], p[..., 3 * C :] * self.slope

    def _gather(self, attended: Tensor, hidden: Tensor) -> Tensor:
        joined = torch.cat((attended.transpose(-2, -3).flatten(-2), hidden), dim=-1)
        out = self.block.times_out(joined)
        return out if self.gain is None else self.gain * out

    def _cotangents_in(self, a: Tensor) -> tuple[Tensor, Tensor]:
        C = self.block.width
        h = self.block.back_out(a if self.gain is None else self.gain * a)
        ao = h[..., :C].unflatten(-1, (self.block.heads, self.block.head_width)).transpose(-2, -3)
        return ao.contiguous(), h[..., C:] * self.slope

    def _scatter(self, dqk: Tensor, dv: Tensor, du: Tensor) -> Tensor:
        qkv = _join_heads(torch.cat((self._qk_norm(dqk), dv[None])))
        return self._layer_norm(self.block.back_in(torch.cat((qkv, du), dim=-1)))


def linearise(block: Folded, z: Tensor, noise: Tensor | None = None) -> Linearisation:
    """The factors of J at ``z`` (B, T, C), which is detached, for the realisation ``noise`` of the force."""
    z = z.detach()
    C = z.shape[-1]
    x_hat, _, rstd = torch.native_layer_norm(z, (C,), None, None, LN_EPS)
    p = block.project_in(x_hat.flatten(0, 1)).view(*z.shape[:-1], -1)
    qkv = _split_heads(p[..., : 3 * C], block.heads).contiguous()
    qk, scale = qkv[:2], None
    if block.qk_norm:
        scale = qk_inverse_scale(qk)
        qk = qk * scale
    return Linearisation(
        block=block,
        x_hat=x_hat,
        rstd=rstd,
        qk=qk,
        qk_scale=scale,
        v=qkv[2],
        P=causal_softmax(qk[0] @ qk[1].mT),
        slope=gelu_slope(p[..., 3 * C :]),
        gain=None if noise is None else 1 + noise,
    )


def gelu_slope(u: Tensor) -> Tensor:
    """d/du of u s(w), w = 2 sqrt(2/pi) (u + 0.044715 u^3), s the logistic function: GELU's tanh form."""
    gain = 2 * GELU_SLOPE
    square = u * u
    s = torch.sigmoid(gain * u * (1 + 0.044715 * square))
    return s + s * (1 - s) * (gain * u * (1 + 3 * 0.044715 * square))


def _split_heads(p: Tensor, heads: int) -> Tensor:
    """(..., T, 3C) -> (3, ..., H, T, D)."""
    return p.unflatten(-1, (3, heads, -1)).movedim(-3, 0).transpose(-2, -3)


def _join_heads(qkv: Tensor) -> Tensor:
    """(3, ..., H, T, D) -> (..., T, 3C)."""
    return qkv.transpose(-2, -3).movedim(0, -3).flatten(-3)
