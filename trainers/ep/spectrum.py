"""The exact spectrum of J at a state, from its self-blocks.

J is block lower-triangular over positions, because F_t does not depend on z_s for s > t. Its eigenvalues are
therefore those of the (C, C) blocks J_tt, token by token: exact, cheap, and the guilty token has a name. Re mu > 0
with Im mu != 0 is a Hopf instability of the free phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.linearise import Linearisation

CHUNK_ELEMENTS = 1 << 25


@dataclass(frozen=True, kw_only=True)
class Rightmost:
    """The eigenvalue of largest real part and where it sits."""

    re_mu: float
    im_mu: float  # absolute value
    sequence: int
    token: int


@torch.no_grad()
def self_blocks(J: Linearisation) -> Tensor:
    """All J_tt, (B, T, C, C): column j is J_tt e_j. Basis tangents go through together in chunks."""
    B, T, C = J.x_hat.shape
    basis = torch.eye(C, dtype=J.x_hat.dtype, device=J.x_hat.device)
    per_tangent = B * T * (J.block.W_in.shape[1] + J.block.heads * T)
    chunk = max(1, CHUNK_ELEMENTS // per_tangent)
    columns = [
        J.self_jvp(part[:, None, None, :].expand(-1, B, T, C)) for part in basis.split(chunk)
    ]
    return torch.cat(columns).permute(1, 2, 3, 0)


@torch.no_grad()
def eigenvalues(J: Linearisation) -> Tensor:
    """mu, (B, T, C) complex128 on the CPU: all eigenvalues of J, by the token they belong to."""
    return torch.linalg.eigvals(self_blocks(J).to("cpu", torch.float64))


def rightmost(mu: Tensor) -> Rightmost:
    """The first eigenvalue of largest real part in ``mu`` (B, T, C)."""
    at = int(mu.real.argmax())
    sequence, token, _ = torch.unravel_index(torch.tensor(at), mu.shape)
    value = mu.flatten()[at]
    return Rightmost(
        re_mu=float(value.real),
        im_mu=abs(float(value.imag)),
        sequence=int(sequence),
        token=int(token),
    )
