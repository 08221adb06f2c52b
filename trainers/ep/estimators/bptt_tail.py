"""Backpropagation through the last ``tail`` steps only.

At an equilibrium with M = I + eps J the last k steps give a_k = eps sum_{i<k} (M^T)^i ell, and a_k - a = (M^T)^k (0 - a)
for the a of J^T a = -ell: the tail interpolates between no implicit gradient and that of the fixed point. A tail as long
as the relaxation is BPTT itself, start included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params, embed, fold, force, start
from trainers.ep.estimators.bptt import (
    BlockForce,
    Unrolled,
    refuse_without_graph,
    steps_in_memory,
    unrolled,
)
from trainers.ep.relax import Force, RelaxPolicy, advance, relax

Eps = float | Tensor


def bptt_tail(
    params: Params,
    settings: EpTrainer,
    policy: RelaxPolicy,
    idx: Tensor,
    y: Tensor,
    noise: Tensor | None = None,
    force: BlockForce = force,
) -> Unrolled:
    """Loss gradient through the last ``settings.tail`` steps. ``params`` must require grad.

    How many steps there are is known at their end only, so they are taken without a graph and the last ones
    once more with it: the state is the same.
    """
    refuse_without_graph(policy)
    block, x = fold(params, settings), embed(params, idx)
    last: deque[tuple[Tensor, Eps]] = deque(maxlen=settings.tail)

    def noted(z: Tensor, f: Tensor, eps: Eps) -> Tensor:
        last.append((z, eps))
        return advance(z, f, eps)

    def plain(z: Tensor) -> Tensor:
        return force(block, z, x, noise)

    with torch.no_grad():
        relaxed = relax(plain, start(block, x), policy, step=noted)
    z = start(block, x) if relaxed.steps == len(last) else last[0][0]
    z = _retaken(plain, z, [eps for _, eps in last], steps_in_memory(settings, x.device))
    return unrolled(params, z, y, relaxed)


def _retaken(force: Force, z: Tensor, eps: Sequence[Eps], segment: int) -> Tensor:
    """The steps ``eps`` with a graph, recomputed in segments where it would not fit the memory."""
    for first in range(0, len(eps), segment):
        part = eps[first : first + segment]
        if segment >= len(eps):
            z = _steps(force, z, part)
        else:
            z = checkpoint(_steps, force, z, part, use_reentrant=False, preserve_rng_state=False)
    return z


def _steps(force: Force, z: Tensor, eps: Sequence[Eps]) -> Tensor:
    for one in eps:
        z = advance(z, force(z), one)
    return z
