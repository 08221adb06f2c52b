"""The exact spectrum of J at a state, from its self-blocks.

J is block lower-triangular over positions, because F_t does not depend on z_s for s > t. Its eigenvalues are
therefore those of the (C, C) blocks J_tt, token by token: exact, cheap, and the guilty token has a name. Re mu > 0
with Im mu != 0 is a Hopf instability of the free phase.

The blocks are written out. In rows, with L the derivative of the layer norm and N_q, N_k those of the rms norms,

    J_tt^T = L [X | W_1 diag(gelu')] W_out - (1 + c) I,
    X = W_Q N_q G + (W_K N_k q_t) P_tt (v_t - o_t)^T + P_tt W_V    per head,
    G = sum_s P_ts k_s (v_s - o_t)^T,   o_t = sum_s P_ts v_s,

which is one matrix product of 10 C^3 operations a token, against 24 C^3 for C applications of J.
`abscissa.py` finds the rightmost eigenvalue alone, with the eigenvalues of few blocks.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.linearise import Linearisation

CHUNK_ELEMENTS = 1 << 23
"""Most that one chunk of tokens holds; more only costs memory."""


@dataclass(frozen=True, kw_only=True)
class Rightmost:
    """The eigenvalue of largest real part and where it sits."""

    re_mu: float
    im_mu: float  # absolute value
    sequence: int
    token: int


@torch.no_grad()
def self_blocks(J: Linearisation, tokens: Tensor | None = None) -> Tensor:
    """J_tt of ``tokens``, indices into the B T tokens in order: (n, C, C); of all of them: (B, T, C, C)."""
    B, T, C = J.x_hat.shape
    at = torch.arange(B * T, device=J.x_hat.device) if tokens is None else tokens
    parts = [_blocks(J, part) for part in at.split(chunk_of(J))]
    found = torch.cat(parts) if parts else J.x_hat.new_empty(0, C, C)
    return found if tokens is not None else found.unflatten(0, (B, T))


@torch.no_grad()
def eigenvalues(J: Linearisation) -> Tensor:
    """mu, (B, T, C) complex128 on the CPU: all eigenvalues of J, by the token they belong to."""
    B, T, C = J.x_hat.shape
    at_once = max(chunk_of(J), 2 * torch.get_num_threads())
    parts = torch.arange(B * T, device=J.x_hat.device).split(at_once)
    return torch.cat([eigenvalues_of(self_blocks(J, part)) for part in parts]).view(B, T, C)


@torch.no_grad()
def eigenvalues_of(blocks: Tensor) -> Tensor:
    """Those of each of (n, C, C), complex128 (n, C) on the CPU: one matrix a thread.

    LAPACK's own threads gain nothing here: reducing to Hessenberg form waits for memory.
    """
    blocks, threads = blocks.to("cpu", torch.float64), torch.get_num_threads()
    if threads == 1 or len(blocks) == 1:
        return torch.linalg.eigvals(blocks)
    try:
        with ThreadPoolExecutor(min(threads, len(blocks))) as pool:
            return torch.stack(list(pool.map(_eigenvalues_alone, blocks)))
    finally:
        torch.set_num_threads(threads)  # what a thread sets for itself, later threads begin with


def _eigenvalues_alone(block: Tensor) -> Tensor:
    torch.set_num_threads(1)
    return torch.linalg.eigvals(block)


def rightmost_of(mu: Tensor) -> Rightmost:
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


def chunk_of(J: Linearisation) -> int:
    """Tokens whose blocks are written out together."""
    C, inner = J.block.width, J.block.W_out.shape[0]
    return max(1, CHUNK_ELEMENTS // (C * inner))


def _blocks(J: Linearisation, at: Tensor) -> Tensor:
    """J_tt of the tokens ``at``, (n, C, C)."""
    C = J.block.width
    x_hat, rstd = J.x_hat.flatten(0, 1)[at], J.rstd.flatten(0, 1)[at]
    hidden = J.block.W_in[:, 3 * C :] * J.slope.flatten(0, 1)[at][:, None, :]
    W_out = J.block.W_out
    Z = torch.matmul(_attention_columns(J, at), W_out[:C]) + torch.matmul(hidden, W_out[C:])
    Z = Z - Z.mean(-2, keepdim=True) - x_hat[:, :, None] * (x_hat[:, None, :] @ Z) / C
    Z = rstd[:, :, None] * Z
    if J.gain is not None:
        Z = Z * J.gain.flatten(0, 1)[at][:, None, :]
    Z.diagonal(dim1=-2, dim2=-1).sub_(J.block.stiffness)
    return Z.mT


def _attention_columns(J: Linearisation, at: Tensor) -> Tensor:
    """X of the tokens ``at``, (n, C, C): from the normalised input to the concatenated heads."""
    C, H = J.block.width, J.block.heads
    W = J.block.W_in[:, : 3 * C].unflatten(1, (3, H, -1)).permute(1, 2, 0, 3)  # (3, H, C, D)
    b, t = at // J.x_hat.shape[1], at % J.x_hat.shape[1]
    P = J.P[b, :, t]  # (n, H, T)
    q, k, v = J.qk[0][b, :, t], J.qk[1][b, :, t], J.v[b, :, t]  # (n, H, D)
    keys, values = J.qk[1][b], J.v[b]  # (n, H, T, D)
    o = P[..., None, :] @ values  # (n, H, 1, D)
    G = (P[..., None] * keys).mT @ (values - o)  # (n, H, D, D)
    own = P.gather(-1, t[:, None, None].expand(-1, H, 1))  # (n, H, 1)
    from_key = (own * (v - o[..., 0, :]))[..., None, :]  # (n, H, 1, D)
    if J.qk_scale is not None:
        scale = J.qk_scale[:, b, :, t].transpose(0, 1)  # (2, n, H, 1)
        G = _rms_rows(q, scale[0], G)
        key = _rms_rows(k, scale[1], q[..., None])
    else:
        key = q[..., None]
    heads = W[0] @ G + (W[1] @ key) @ from_key + own[..., None] * W[2]
    return heads.transpose(1, 2).flatten(2)


def _rms_rows(u: Tensor, scale: Tensor, right: Tensor) -> Tensor:
    """N right, N = scale (I - u u^T / sqrt(D)): the derivative of the rms norm, which is symmetric."""
    along = u[..., None, :] @ right / math.sqrt(u.shape[-1])
    return scale[..., None] * (right - u[..., None] * along)
