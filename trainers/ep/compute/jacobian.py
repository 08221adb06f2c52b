"""Products with the Jacobian of a graphed system, one at a time or many in one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.ep.block import Folded
from trainers.ep.compute.replay import Function
from trainers.ep.compute.resident import (
    ABSENT,
    factor_names,
    tensor_names,
    tensors,
    with_tensors,
)
from trainers.ep.linearise import Linearisation
from trainers.ep.power import Power, power
from trainers.ep.solvers.arnoldi import Krylov, Operator, begin, grow

if TYPE_CHECKING:
    from trainers.ep.compute.engine import Graphed

Product = Callable[[Linearisation, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class GraphedJacobian:
    """J of a graphed system: trainers.ep.estimators.system.Jacobian, and its self-blocks."""

    block: Folded
    factors: tuple[Tensor, ...]  # the tensors of a Linearisation, in order
    engine: Graphed

    def jvp(self, w: Tensor) -> Tensor:
        return self._replay("jvp", Linearisation.jvp, w)

    def vjp(self, a: Tensor) -> Tensor:
        return self._replay("vjp", Linearisation.vjp, a)

    def self_jvp(self, w: Tensor) -> Tensor:
        return self._replay("self_jvp", Linearisation.self_jvp, w)

    def vjp_arnoldi(self) -> GraphedArnoldi:
        return GraphedArnoldi(self)

    def self_power(self, v: Tensor, eps: float, steps: int) -> Power:
        """`trainers.ep.power.power` of the self-blocks, in one graph."""

        def all_steps(v: Tensor, *resident: Tensor) -> tuple[Tensor, ...]:
            found = power(
                self._operator("self_jvp", Linearisation.self_jvp, resident), v, eps, steps
            )
            return found.v, found.growth

        name = ("self_power", eps, steps)
        out = self.engine.run(name, all_steps, 1, v, *self._resident, whole=False)
        return Power(v=out[0].clone(), growth=out[1].clone())

    def grow_vjp(self, space: Krylov, at: int, steps: int) -> None:
        """`trainers.ep.solvers.arnoldi.grow` of J^T, in one graph."""

        def all_steps(V: Tensor, H: Tensor, *resident: Tensor) -> tuple[Tensor, ...]:
            there = Krylov(V=V, H=H, shape=space.shape)
            grow(self._operator("vjp", Linearisation.vjp, resident), there, at, steps)
            return (H,)

        name = ("grow_vjp", space.shape, at, steps)
        self.engine.run(name, all_steps, 0, space.V, space.H, *self._resident, whole=False)

    @property
    def _resident(self) -> tuple[Tensor, ...]:
        return (*self.factors, *tensors(self.block))

    def _replay(self, name: str, product: Product, w: Tensor) -> Tensor:
        with self.engine.precision(tf32=False):
            (out,) = self.engine.run(name, self._flat(product), 1, w, *self._resident)
        return out.clone()

    def _operator(self, name: str, product: Product, resident: tuple[Tensor, ...]) -> Operator:
        """The product with J, made of ``resident``, to be called inside a graph of several."""
        function = self.engine.compiled(name, self._flat(product))

        def operator(w: Tensor) -> Tensor:
            with self.engine.precision(tf32=False):
                return function(w, *resident)[0]

        return operator

    def _flat(self, product: Product) -> Function:
        """``product`` as a function of tensors alone."""
        skeleton, count = self.block, len(self.factors)
        names, weights = factor_names(skeleton), tensor_names(skeleton)

        def flat(w: Tensor, *resident: Tensor) -> tuple[Tensor, ...]:
            block = with_tensors(skeleton, weights, resident[count:])
            factors = ABSENT | dict(zip(names, resident[:count], strict=True))
            return (product(Linearisation(block=block, **factors), w),)

        return flat


class GraphedArnoldi:
    """trainers.ep.solvers.arnoldi.Arnoldi of J^T: tables that stay, as many steps a launch as are asked for."""

    ahead = True

    def __init__(self, jacobian: GraphedJacobian) -> None:
        self._jacobian = jacobian

    @torch.no_grad()
    def begin(self, r: Tensor, size: Tensor, longest: int) -> Krylov:
        return begin(self._jacobian.engine.krylov(r, longest), r, size)

    @torch.no_grad()
    def grow(self, space: Krylov, at: int, steps: int) -> None:
        self._jacobian.grow_vjp(space, at, steps)
