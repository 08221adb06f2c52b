"""What an estimator needs to know of a model: its force, its Jacobian, the pull of its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from trainers.ep.block import Folded, force
from trainers.ep.linearise import Linearisation, linearise
from trainers.ep.readout import nudge


class Jacobian(Protocol):
    """J at one state; tangents are (B, T, C)."""

    def jvp(self, w: Tensor) -> Tensor: ...

    def vjp(self, a: Tensor) -> Tensor: ...


class System(Protocol):
    """A force and a loss. ``stiffness`` is the known diagonal part of -J, a scalar."""

    @property
    def stiffness(self) -> float: ...

    def force(self, z: Tensor) -> Tensor:
        """F(z); z may carry one leading dimension of phases."""
        ...

    def linearise(self, z: Tensor) -> Jacobian: ...

    def ell(self, z: Tensor) -> Tensor:
        """Gradient of the summed loss with respect to z."""
        ...


@dataclass(frozen=True, kw_only=True)
class BlockSystem:
    """The attention block reading ``x`` with targets ``y``."""

    block: Folded
    W_h: Tensor
    x: Tensor
    y: Tensor

    @property
    def stiffness(self) -> float:
        return self.block.stiffness

    def force(self, z: Tensor) -> Tensor:
        return force(self.block, z, self.x)

    def linearise(self, z: Tensor) -> Linearisation:
        return linearise(self.block, z)

    def ell(self, z: Tensor) -> Tensor:
        return nudge(self.W_h, z, self.y)
