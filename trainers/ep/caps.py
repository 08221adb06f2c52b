"""Weight caps: no matrix of the block may outgrow a multiple of the norm that it started the run with.

The gain of the block, and with it Re mu, grows with the norms of its matrices; a cap bounds it whatever the gradient says.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from specs.files import BadCheckpoint
from trainers.ep.block import Params

CAPPED = ("W_Q", "W_K", "W_V", "W_O", "W_1", "W_2")


@torch.no_grad()
def matrix_norms(params: Params) -> dict[str, float]:
    """The Frobenius norm of every matrix of the block, by its name."""
    norms = torch.stack(torch._foreach_norm(_matrices(params))).tolist()
    return dict(zip(CAPPED, norms, strict=True))


@torch.no_grad()
def cap_(params: Params, initial: Mapping[str, float], cap: float) -> Tensor:
    """Scale back, in place, what exceeds ``cap`` times its ``initial`` norm; the fraction of matrices that did."""
    matrices = _matrices(params)
    norms = torch.stack(torch._foreach_norm(matrices))
    limits = norms.new_tensor([cap * initial[name] for name in CAPPED])
    factors = torch.where(norms > limits, limits / norms, torch.ones_like(norms))
    torch._foreach_mul_(matrices, list(factors.unbind()))
    return (norms > limits).double().mean()


def read_norms(stored: object) -> dict[str, float]:
    """The initial norms in a checkpoint. Raises BadCheckpoint where they are not those of the block's matrices."""
    if not isinstance(stored, Mapping) or set(stored) != set(CAPPED):
        raise BadCheckpoint(f"the checkpoint's initial_norms are not of {', '.join(CAPPED)}")
    return {name: float(stored[name]) for name in CAPPED}


def _matrices(params: Params) -> list[Tensor]:
    return [getattr(params, name) for name in CAPPED]
