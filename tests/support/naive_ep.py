"""The documented trainer's step, written plainly: the oracle of tests and the yardstick of benchmarks.

Eager float32, explicit attention, T1 Euler steps, then nudged phases with a tracked common mode, J and J^T taken
by automatic differentiation once for each phase, the nudge computed anew at each phase and step. It shares no code
with trainers/ep but the names of the parameters. BPTT beside it differentiates through the very same relaxation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp
from torch.nn import functional as nn

from trainers.ep.block import Params


@dataclass(frozen=True, kw_only=True)
class Naive:
    heads: int
    damping: float
    eps: float = 0.1
    T1: int = 150
    T2: int = 40
    radius: float = 0.02
    """The nudge is sized so that its first displacement is this part of the state."""
    ahead: bool = False
    """Start the phases where trainers/ep does, at the adjoint of a silent block; the documents start at the free state."""

    def force(self, p: Params, z: Tensor, x: Tensor) -> Tensor:
        """F(z; x) with q and k normalised, (B, T, C)."""
        mixed = self._attention(p, _norm(z, p.ln1_gain, p.ln1_bias))
        hidden = _gelu(_norm(z, p.ln2_gain, p.ln2_bias) @ p.W_1 + p.b_1)
        return -(z - x) + mixed + hidden @ p.W_2 + p.b_2 - self.damping * z

    def _attention(self, p: Params, h: Tensor) -> Tensor:
        B, T, C = h.shape
        q, k, v = (
            (h @ W).view(B, T, self.heads, C // self.heads).transpose(1, 2)
            for W in (p.W_Q, p.W_K, p.W_V)
        )
        q, k = (u / (u.square().mean(-1, keepdim=True) + 1e-6).sqrt() for u in (q, k))
        S = q @ k.mT / math.sqrt(C // self.heads)
        future = torch.ones(T, T, dtype=torch.bool, device=h.device).triu(1)
        P = torch.softmax(S.masked_fill(future, -math.inf), dim=-1)
        return (P @ v).transpose(1, 2).reshape(B, T, C) @ p.W_O

    def relax(self, p: Params, x: Tensor) -> Tensor:
        z = x / (1 + self.damping)
        for _ in range(self.T1):
            z = z + self.eps * self.force(p, z, x)
        return z

    @torch.no_grad()
    def adjoint(self, p: Params, z: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """a with J^T a = -ell, from T2 nudged steps."""
        first = _pull(p, z, y) / (1 + self.damping)
        beta = self.radius * _size(z) / _size(first)
        up, down = (z - beta * first, z + beta * first) if self.ahead else (z, z)
        for _ in range(self.T2):
            mean = 0.5 * (up + down)
            up, down = (
                u + self.eps * (
                    self.force(p, u, x) - sign * beta * _pull(p, u, y) - self._asymmetry(p, mean, x, u - mean)
                )
                for u, sign in ((up, 1.0), (down, -1.0))
            )  # fmt: skip
        return (down - up) / (2 * beta)

    def _asymmetry(self, p: Params, z: Tensor, x: Tensor, d: Tensor) -> Tensor:
        """(J - J^T) d at ``z``."""
        _, J_d = jvp(lambda u: self.force(p, u, x), (z,), (d,))
        _, pull_back = vjp(lambda u: self.force(p, u, x), z)
        return J_d - pull_back(d)[0]

    def gradient(self, p: Params, idx: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """The gradient of the mean cross-entropy in the order of Params, which must require grad."""
        with torch.no_grad():
            x = p.E[idx] + p.pos[: idx.shape[1]]
            z = self.relax(p, x)
            a = self.adjoint(p, z, x, y)
        f = self.force(p, z, p.E[idx] + p.pos[: idx.shape[1]])
        implicit = torch.autograd.grad((f * a).sum() / idx.numel(), p.of_force)
        ce = nn.cross_entropy((z @ p.W_h).flatten(0, 1), y.flatten())
        return (*implicit, *torch.autograd.grad(ce, [p.W_h]))

    def bptt(self, p: Params, idx: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """The gradient by backpropagation through the relaxation."""
        z = self.relax(p, p.E[idx] + p.pos[: idx.shape[1]])
        ce = nn.cross_entropy((z @ p.W_h).flatten(0, 1), y.flatten())
        return torch.autograd.grad(ce, p)


def _norm(u: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    centred = u - u.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + bias


def _gelu(u: Tensor) -> Tensor:
    return 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))


def _pull(p: Params, z: Tensor, y: Tensor) -> Tensor:
    """The gradient of the summed cross-entropy with respect to z."""
    error = torch.softmax(z @ p.W_h, dim=-1) - nn.one_hot(y, p.W_h.shape[1]).to(z.dtype)
    return error @ p.W_h.mT


def _size(t: Tensor) -> Tensor:
    return torch.linalg.vector_norm(t, dim=(-2, -1), keepdim=True)
