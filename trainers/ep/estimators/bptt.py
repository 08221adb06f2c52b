"""Backpropagation through time: autograd through exactly the steps that the objective uses.

The twin that the equilibrium estimators are compared with: same block, start, steps, stabilisers and data order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from specs.trainer_ep import EpTrainer, Solver
from trainers.ep.block import Folded, Params, embed, fold, force, start
from trainers.ep.relax import Force, Relaxed, RelaxPolicy, Walk, euler, relax, step_residual

GRAPH_BYTES = 8 << 30
"""For the graph on a CPU."""

GPU_SHARE = 0.7
"""Of a GPU's free memory, for the graph there."""

BlockForce = Callable[[Folded, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class Unrolled:
    gradient: tuple[Tensor, ...]  # of the mean cross-entropy, in the order of Params
    ce: Tensor
    relaxed: Relaxed  # detached


def bptt(
    params: Params,
    settings: EpTrainer,
    policy: RelaxPolicy,
    idx: Tensor,
    y: Tensor,
    noise: Tensor | None = None,
    force: BlockForce = force,
) -> Unrolled:
    """Loss gradient by unrolling. ``params`` must require grad. Raises ValueError where no graph leads through.

    ``force``: `trainers.ep.block.force`, or the same compiled.
    """
    refuse_without_graph(policy)
    block, x = fold(params, settings), embed(params, idx)
    most = policy.t1max if policy.refine else policy.T1
    step_by_step, walk = _recomputed(steps_in_memory(settings, x.device), policy, most)

    def plain(z: Tensor) -> Tensor:
        return force(block, z, x, noise)

    relaxed = relax(
        (lambda z: _again(plain, z)) if step_by_step else plain, start(block, x), policy, walk
    )
    return unrolled(params, relaxed.z, y, relaxed)


def known_length(policy: RelaxPolicy) -> bool:
    """Is it known beforehand how many steps there are, whatever the residual does?"""
    return policy.solver is Solver.EULER and (not policy.refine or policy.t1max <= policy.T1)


def of_known_length(
    params: Params,
    settings: EpTrainer,
    policy: RelaxPolicy,
    idx: Tensor,
    y: Tensor,
    force: BlockForce = force,
) -> tuple[Tensor, ...]:
    """What `bptt` finds where the length is known: gradient, loss, state (B, T, C), residual (B,).

    Nothing in it waits for a number, so that the whole of it can be one CUDA graph. All steps must fit the memory.
    """
    block, x = fold(params, settings), embed(params, idx)

    def plain(z: Tensor) -> Tensor:
        return force(block, z, x, None)

    z = euler(plain, start(block, x), policy.eps, policy.T1)
    ce = torch.nn.functional.cross_entropy((z @ params.W_h).flatten(0, 1), y.flatten())
    gradient = torch.autograd.grad(ce, params)
    z = z.detach()
    return *gradient, ce.detach(), z, step_residual(plain, z, policy.eps)


def assembled(found: tuple[Tensor, ...], policy: RelaxPolicy) -> Unrolled:
    """`of_known_length`'s tensors as `bptt` returns them."""
    *gradient, ce, z, r = found
    return Unrolled(
        gradient=tuple(gradient),
        ce=ce,
        relaxed=Relaxed(
            z_T1=z,
            z_ref=z,
            r_T1=r,
            r_ref=r,
            steps=policy.T1,
            hit_cap=policy.refine and not bool(r.max() <= policy.tolerance),
            objective=policy.objective,
        ),
    )


def unrolled(params: Params, z: Tensor, y: Tensor, relaxed: Relaxed) -> Unrolled:
    """The loss at ``z`` and its gradient through whatever graph z carries."""
    ce = torch.nn.functional.cross_entropy((z @ params.W_h).flatten(0, 1), y.flatten())
    gradient = torch.autograd.grad(ce, params)
    return Unrolled(
        gradient=gradient,
        ce=ce.detach(),
        relaxed=replace(relaxed, z_T1=relaxed.z_T1.detach(), z_ref=relaxed.z_ref.detach()),
    )


def refuse_without_graph(policy: RelaxPolicy) -> None:
    """Anderson's mixtures are taken without a graph: differentiated, they would give zero, silently."""
    if policy.solver is not Solver.EULER:
        raise ValueError(
            f"bptt and bptt_tail differentiate Euler steps; relaxation.solver is {policy.solver.value}"
        )


def _recomputed(segment: int, policy: RelaxPolicy, most: int) -> tuple[bool, Walk]:
    """How to keep the graph of ``most`` steps in memory, which has room for ``segment`` of them: as it is, in segments, or force by force.

    Adaptive steps choose their size by the force that they take, so they are recomputed one by one.
    """
    if segment >= most:
        return False, euler
    return (True, euler) if policy.adaptive else (False, _segmented(segment))


def _segmented(segment: int) -> Walk:
    def walk(force: Force, z: Tensor, eps: float, steps: int) -> Tensor:
        for first in range(0, steps, segment):
            count = min(segment, steps - first)
            z = checkpoint(
                euler, force, z, eps, count, use_reentrant=False, preserve_rng_state=False
            )
        return z

    return walk


def _again(force: Force, z: Tensor) -> Tensor:
    """F(z), computed once more in the backward pass."""
    f: Tensor = checkpoint(force, z, use_reentrant=False, preserve_rng_state=False)
    return f


def steps_in_memory(settings: EpTrainer, device: torch.device) -> int:
    """Steps whose graph fits the memory that it may take, one at least."""
    room: float = GRAPH_BYTES
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        room = GPU_SHARE * (free + unused)
    return max(1, int(room / graph_bytes_per_step(settings)))


def graph_bytes_per_step(settings: EpTrainer) -> int:
    """What autograd keeps of one step: about 12 + 3 f widths a token, four bytes each."""
    tokens = settings.batch * settings.context
    return 4 * tokens * settings.width * (12 + 3 * settings.ffn_factor)
