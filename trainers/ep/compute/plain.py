"""Everything as it is written, on any device: what a step asks of an engine, and the engine that just calls."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer, Products
from trainers.ep.block import Folded, Params, force
from trainers.ep.estimators.bptt import Unrolled, bptt
from trainers.ep.estimators.implicit import loss_gradient
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.linearise import linearise
from trainers.ep.power import Power
from trainers.ep.relax import RelaxPolicy


class SelfBlocks(Protocol):
    """J at one state, token by token."""

    def self_jvp(self, w: Tensor) -> Tensor: ...

    def self_power(self, v: Tensor, eps: float, steps: int) -> Power:
        """`trainers.ep.power.power` of the self-blocks."""
        ...


class Plain:
    """Everything as it is written, on any device."""

    def system(self, block: Folded, W_h: Tensor, x: Tensor, y: Tensor) -> BlockSystem:
        return BlockSystem(block=block, W_h=W_h, x=x, y=y)

    def force(self, block: Folded, z: Tensor, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """`trainers.ep.block.force`, to be differentiated through."""
        return force(block, z, x, noise)

    def bptt(
        self,
        params: Params,
        settings: EpTrainer,
        policy: RelaxPolicy,
        idx: Tensor,
        y: Tensor,
        noise: Tensor | None = None,
    ) -> Unrolled:
        """`trainers.ep.estimators.bptt.bptt` through this engine's force."""
        return bptt(params, settings, policy, idx, y, noise, self.force)

    def loss_gradient(
        self,
        params: Params,
        settings: EpTrainer,
        idx: Tensor,
        y: Tensor,
        z: Tensor,
        a: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """`trainers.ep.estimators.implicit.loss_gradient`."""
        return loss_gradient(params, settings, idx, y, z, a, noise)

    @torch.no_grad()
    def jacobian(self, block: Folded, z: Tensor, noise: Tensor | None = None) -> SelfBlocks:
        """J at ``z`` (B, T, C) without a graph, for its self-blocks."""
        return linearise(block, z, noise)

    def describe(self) -> dict[str, object]:
        return {"cuda_graphs": False, "compile": False, "products": Products.FLOAT32.value}


PLAIN = Plain()
