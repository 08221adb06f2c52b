"""What a probe measures: the parameters of a checkpoint, or their average, on some validation sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Folded, Params, embed, fold, start
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.norms import per_sequence_norm
from trainers.ep.relax import Relaxed, RelaxPolicy, relax

ROOT = 1e-6
"""The force residual ||F(z)|| / ||z|| from which on a state counts as an equilibrium."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """``name`` is ``parameters`` or ``average``; ``idx`` and ``y`` are (B, T). Without force noise."""

    name: str
    settings: EpTrainer
    params: Params
    idx: Tensor
    y: Tensor

    @cached_property
    def block(self) -> Folded:
        with torch.no_grad():
            return fold(self.params, self.settings)

    @cached_property
    def system(self) -> BlockSystem:
        with torch.no_grad():
            x = embed(self.params, self.idx)
        return BlockSystem(block=self.block, W_h=self.params.W_h, x=x, y=self.y)

    @cached_property
    def start(self) -> Tensor:
        """z_0, where every relaxation begins."""
        return start(self.block, self.system.x)

    @cached_property
    def relaxed(self) -> Relaxed:
        """As training and validation relax it, refined."""
        with torch.no_grad():
            policy = RelaxPolicy.of(self.settings, measure=True)
            return relax(self.system.force, self.start, policy)

    @property
    def sequences(self) -> int:
        return len(self.idx)

    @property
    def eps(self) -> float:
        return self.settings.relaxation.eps

    def only(self, sequence: int) -> Model:
        """The same on one of its sequences."""
        one = slice(sequence, sequence + 1)
        return replace(self, idx=self.idx[one], y=self.y[one])

    def with_params(self, params: Params) -> Model:
        return replace(self, params=params)


def force_residual(force: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """g = ||F(z)|| / ||z|| per sequence, (B,): comparable between different eps."""
    return per_sequence_norm(force(z)) / per_sequence_norm(z)
