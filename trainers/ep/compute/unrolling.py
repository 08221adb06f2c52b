"""Backpropagation through all relaxation steps as one CUDA graph.

A step of a small model launches thousands of kernels there, one after another; replayed, they wait for no Python. So
the twin that EP is compared with is as fast as this GPU lets it be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params
from trainers.ep.compute.replay import Replay
from trainers.ep.estimators.bptt import (
    BlockForce,
    Unrolled,
    assembled,
    known_length,
    of_known_length,
    steps_in_memory,
)
from trainers.ep.relax import RelaxPolicy


class UnrolledGraph:
    """`trainers.ep.estimators.bptt.bptt` where the number of steps is known and their graph fits the memory."""

    def __init__(self, pool: tuple[int, int]) -> None:
        self._pool = pool
        self._replays: dict[RelaxPolicy, Replay] = {}

    def serves(self, settings: EpTrainer, policy: RelaxPolicy, device: torch.device) -> bool:
        """Is there a graph for this policy, or may there be? A new length each step would need a graph each."""
        if policy in self._replays:
            return True
        if settings.relaxation.random_T1 or not known_length(policy):
            return False
        return steps_in_memory(settings, device) >= policy.T1

    def __call__(
        self,
        params: Params,
        settings: EpTrainer,
        policy: RelaxPolicy,
        idx: Tensor,
        y: Tensor,
        force: BlockForce,
    ) -> Unrolled:
        """The loss gradient; ``params`` are read where they lie."""
        replay = self._replays.get(policy)
        if replay is None:

            def flat(idx: Tensor, y: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
                with torch.enable_grad():
                    return of_known_length(Params(*weights), settings, policy, idx, y, force)

            replay = self._replays[policy] = Replay(flat, resident=len(params), pool=self._pool)
        return assembled(tuple(t.clone() for t in replay(idx, y, *params)), policy)
