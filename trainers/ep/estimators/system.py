"""What an estimator needs to know of a model: its force, its Jacobian, the pull of its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainers.ep.block import Folded, force
from trainers.ep.linearise import Linearisation, linearise
from trainers.ep.readout import nudge
from trainers.ep.relax import Walk, euler
from trainers.ep.solvers.arnoldi import Arnoldi


class Jacobian(Protocol):
    """J at one state; tangents are (..., B, T, C), real."""

    def jvp(self, w: Tensor) -> Tensor: ...

    def vjp(self, a: Tensor) -> Tensor: ...

    def vjp_arnoldi(self) -> Arnoldi:
        """What grows Krylov bases of `vjp`."""
        ...


class System(Protocol):
    """A force and a loss. ``stiffness`` is the known diagonal part of -J, a scalar."""

    @property
    def stiffness(self) -> float: ...

    def force(self, z: Tensor) -> Tensor:
        """F(z); z may carry one leading dimension of phases, and be complex."""
        ...

    def linearise(self, z: Tensor) -> Jacobian: ...

    def ell(self, z: Tensor) -> Tensor:
        """Gradient of the summed loss with respect to z."""
        ...

    def to(self, dtype: torch.dtype) -> System:
        """The same system in another arithmetic."""
        ...


@dataclass(frozen=True, kw_only=True)
class BlockSystem:
    """The attention block reading ``x`` with targets ``y``, under one realisation of the force's noise."""

    block: Folded
    W_h: Tensor
    x: Tensor
    y: Tensor
    noise: Tensor | None = None  # (B, T, C)

    @property
    def stiffness(self) -> float:
        return self.block.stiffness

    @property
    def walk(self) -> Walk:
        """How the free phase takes its Euler steps; a fresh one for each relaxation."""
        return euler

    def force(self, z: Tensor) -> Tensor:
        return force(self.block, z, self.x, self.noise)

    def linearise(self, z: Tensor) -> Linearisation:
        return linearise(self.block, z, self.noise)

    def ell(self, z: Tensor) -> Tensor:
        return nudge(self.W_h, z, self.y)

    def to(self, dtype: torch.dtype) -> BlockSystem:
        return BlockSystem(
            block=self.block.to(dtype),
            W_h=self.W_h.to(dtype),
            x=self.x.to(dtype),
            y=self.y,
            noise=None if self.noise is None else self.noise.to(dtype),
        )
