"""Backpropagation through time: autograd through exactly the steps that the objective uses.

The twin that the equilibrium estimators are compared with: same block, start, steps, stabilisers and data order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params, embed, fold, force, start
from trainers.ep.relax import Force, Relaxed, RelaxPolicy, Walk, euler, relax

GRAPH_BYTES = 8 << 30


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    gradient: tuple[Tensor, ...]  # of the mean cross-entropy, in the order of Params
    ce: Tensor
    relaxed: Relaxed  # detached


def bptt(
    params: Params, settings: EpTrainer, policy: RelaxPolicy, idx: Tensor, y: Tensor
) -> Unrolled:
    """Loss gradient by unrolling. ``params`` must require grad."""
    block, x = fold(params, settings), embed(params, idx)
    relaxed = relax(lambda z: force(block, z, x), start(block, x), policy, _walk(settings, policy))
    logits = relaxed.z @ params.W_h
    ce = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
    gradient = torch.autograd.grad(ce, params)
    return Unrolled(
        gradient=gradient,
        ce=ce.detach(),
        relaxed=Relaxed(
            z_T1=relaxed.z_T1.detach(),
            z_ref=relaxed.z_ref.detach(),
            r_T1=relaxed.r_T1,
            r_ref=relaxed.r_ref,
            steps=relaxed.steps,
            hit_cap=relaxed.hit_cap,
            objective=relaxed.objective,
        ),
    )


def _walk(settings: EpTrainer, policy: RelaxPolicy) -> Walk:
    """Plain steps where the graph of all of them fits GRAPH_BYTES, else recomputed segments."""
    most = policy.t1max if policy.refine else policy.T1
    segment = max(1, GRAPH_BYTES // graph_bytes_per_step(settings))
    if segment >= most:
        return euler

    def segmented(force: Force, z: Tensor, eps: float, steps: int) -> Tensor:
        for first in range(0, steps, segment):
            count = min(segment, steps - first)
            z = checkpoint(
                euler, force, z, eps, count, use_reentrant=False, preserve_rng_state=False
            )
        return z

    return segmented


def graph_bytes_per_step(settings: EpTrainer) -> int:
    """What autograd keeps of one step: about 12 + 3 f widths a token, four bytes each."""
    tokens = settings.batch * settings.context
    return 4 * tokens * settings.width * (12 + 3 * settings.ffn_factor)
