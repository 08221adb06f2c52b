"""Which arithmetic serves a run: plain calls, or CUDA graphs with the products of the settings.

An engine makes the system (force, Jacobian, nudge) of one batch. Plain and graphed systems compute the same; the
graphed one keeps weights and inputs in buffers of its own, so the newest system of an engine is its only valid one,
and so is its newest Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from specs.trainer_ep import Compute, EpTrainer, Products
from trainers.ep.block import Folded, Params, force
from trainers.ep.compute.jacobian import GraphedJacobian
from trainers.ep.compute.plain import PLAIN, Plain, SelfBlocks
from trainers.ep.compute.products import split_block
from trainers.ep.compute.replay import Function, Replay
from trainers.ep.compute.resident import factor_names, tensor_names, tensors, with_tensors
from trainers.ep.compute.unrolling import UnrolledGraph
from trainers.ep.estimators.bptt import Unrolled
from trainers.ep.estimators.implicit import loss_gradient
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.linearise import linearise
from trainers.ep.relax import Force, RelaxPolicy, Walk, euler
from trainers.ep.solvers.arnoldi import Krylov, room
from trainers.tf32 import tensor_cores

UNROLLED = 10
"""Relaxation steps in one graph."""


def engine_for(settings: EpTrainer, device: torch.device) -> Plain:
    """The engine of a run on ``device``. Graphs, compilation and TF32 need CUDA: elsewhere it is plain."""
    return Graphed(settings.compute) if device.type == "cuda" and _wanted(settings) else PLAIN


def _wanted(settings: EpTrainer) -> bool:
    """Does the run ask for anything that the graphed engine can do? Noise it can not."""
    compute = settings.compute
    asked = compute.cuda_graphs or compute.compile or compute.tf32_steps > 0
    return settings.fnoise == 0 and (asked or compute.products is not Products.FLOAT32)


class Graphed(Plain):
    """Free phase and Jacobian products as CUDA graphs; see `specs.trainer_ep.Compute`."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._buffers: dict[object, tuple[Tensor, ...]] = {}
        self._replays: dict[object, Replay] = {}
        self._compiled: dict[object, Function] = {}
        self._tables: dict[object, Krylov] = {}
        self._differentiable: Callable[..., Tensor] | None = None
        self._pool = torch.cuda.graph_pool_handle()
        self._unrolled = UnrolledGraph(self._pool)

    def describe(self) -> dict[str, object]:
        return {
            "cuda_graphs": True,
            "compile": self._compute.compile,
            "products": self._compute.products.value,
            "tf32_steps": self._compute.tf32_steps,
        }

    def system(self, block: Folded, W_h: Tensor, x: Tensor, y: Tensor) -> BlockSystem:
        (kept_x,) = self._keep(("x", x.shape), (x,))
        return GraphedSystem(block=self._kept(block), W_h=W_h, x=kept_x, y=y, engine=self)

    def force(self, block: Folded, z: Tensor, x: Tensor, noise: Tensor | None = None) -> Tensor:
        if noise is not None or not self._compute.compile:
            return super().force(block, z, x, noise)
        if self._differentiable is None:
            names = tensor_names(block)

            def flat(z: Tensor, x: Tensor, *weights: Tensor) -> Tensor:
                return force(with_tensors(block, names, weights), z, x)

            self._differentiable = torch.compile(flat, fullgraph=True, dynamic=False)
        return self._differentiable(z, x, *tensors(block))

    def bptt(
        self,
        params: Params,
        settings: EpTrainer,
        policy: RelaxPolicy,
        idx: Tensor,
        y: Tensor,
        noise: Tensor | None = None,
    ) -> Unrolled:
        if noise is not None or not self._unrolled.serves(settings, policy, idx.device):
            return super().bptt(params, settings, policy, idx, y, noise)
        return self._unrolled(params, settings, policy, idx, y, self.force)

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
        if noise is not None or a.dtype is not z.dtype:
            return super().loss_gradient(params, settings, idx, y, z, a, noise)

        def flat(
            idx: Tensor, y: Tensor, z: Tensor, a: Tensor, *weights: Tensor
        ) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                return loss_gradient(Params(*weights), settings, idx, y, z, a)

        found = self.run("loss_gradient", flat, 4, idx, y, z, a, *params, whole=False)
        return tuple(t.clone() for t in found)

    def jacobian(self, block: Folded, z: Tensor, noise: Tensor | None = None) -> SelfBlocks:
        if noise is not None:
            return super().jacobian(block, z, noise)
        return self.linearised(self._kept(block), z)

    @torch.no_grad()
    def linearised(self, kept: Folded, z: Tensor) -> GraphedJacobian:
        """J at ``z`` of a block that lies in the buffers."""
        names, factors_of = tensor_names(kept), factor_names(kept)

        def flat(z: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            J = linearise(with_tensors(kept, names, weights), z)
            return tuple(getattr(J, name) for name in factors_of)

        with self.precision(tf32=False):
            factors = self.run("linearise", flat, 1, z, *tensors(kept))
        return GraphedJacobian(block=kept, factors=factors, engine=self)

    def _kept(self, block: Folded) -> Folded:
        """``block`` in the buffers, its products as the settings have them."""
        if self._compute.products is Products.TF32X3:
            block = split_block(block)
        kept = self._keep(("block", type(block)), tensors(block))
        return with_tensors(block, tensor_names(block), kept)

    def _keep(self, key: object, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The buffers of ``key``, holding ``values``: graphs read them where they lie."""
        buffers = self._buffers.get(key)
        if buffers is None or any(b.shape != v.shape for b, v in zip(buffers, values, strict=True)):
            buffers = self._buffers[key] = tuple(v.detach().clone() for v in values)
        else:
            torch._foreach_copy_(list(buffers), [v.detach() for v in values])
        return buffers

    def run(
        self, name: object, function: Function, moved: int, *arguments: Tensor, whole: bool = True
    ) -> tuple[Tensor, ...]:
        """``function`` of ``arguments``, all but the first ``moved`` of them resident.

        Under `compute.compile` the ``whole`` of it is compiled, or nothing but what it makes of `compiled`.
        """
        replay = self._replays.get(name)
        if replay is None:
            called = self.compiled(name, function) if whole else function
            replay = Replay(called, resident=len(arguments) - moved, pool=self._pool)
            self._replays[name] = replay
        return replay(*arguments)

    def compiled(self, name: object, function: Function) -> Function:
        """``function``, compiled if the settings ask for that, once for every ``name``."""
        if not self._compute.compile:
            return function
        if name not in self._compiled:
            self._compiled[name] = torch.compile(function, fullgraph=True, dynamic=False)
        return self._compiled[name]

    def krylov(self, like: Tensor, longest: int) -> Krylov:
        """Tables that stay, with room for ``longest`` steps or more on vectors like ``like``."""
        key = (like.shape, like.dtype)
        kept = self._tables.get(key)
        if kept is None or kept.longest < longest:
            kept = self._tables[key] = room(like, longest)
        return kept

    def precision(self, *, tf32: bool) -> AbstractContextManager[None]:
        """TF32 inside: by order, or because the products are made of three."""
        split = self._compute.products is Products.TF32X3
        return tensor_cores() if tf32 or split else nullcontext()

    @property
    def tf32_steps(self) -> int:
        return self._compute.tf32_steps


@dataclass(frozen=True, kw_only=True)
class GraphedSystem(BlockSystem):
    """A system whose force and Jacobian are replayed. Its block and x are the engine's buffers."""

    engine: Graphed

    def force(self, z: Tensor) -> Tensor:
        with self.engine.precision(tf32=False):
            (f,) = self._replay("force", lambda block, z, x: force(block, z, x), z)
        return f.clone()

    @property
    def walk(self) -> Walk:
        """Euler steps, UNROLLED of them in a graph; the first ``tf32_steps`` of its life in TF32."""
        left = self.engine.tf32_steps

        def walk(plain: Force, z: Tensor, eps: float, steps: int) -> Tensor:
            nonlocal left
            early = min(left, steps) // UNROLLED
            left = max(0, left - steps)
            whole, rest = divmod(steps, UNROLLED)
            for block in range(whole):
                z = self._unrolled(z, eps, tf32=block < early)
            return euler(plain, z, eps, rest) if rest else z.clone()

        return walk

    def _unrolled(self, z: Tensor, eps: float, *, tf32: bool) -> Tensor:
        def steps(block: Folded, z: Tensor, x: Tensor) -> Tensor:
            return euler(lambda u: force(block, u, x), z, eps, UNROLLED)

        with self.engine.precision(tf32=tf32):
            (z,) = self._replay(("walk", eps, tf32), steps, z)
        return z

    def _replay(
        self, name: object, function: Callable[[Folded, Tensor, Tensor], Tensor], z: Tensor
    ) -> tuple[Tensor, ...]:
        skeleton, names = self.block, tensor_names(self.block)

        def flat(z: Tensor, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            return (function(with_tensors(skeleton, names, weights), z, x),)

        return self.engine.run(name, flat, 1, z, self.x, *tensors(self.block))

    def linearise(self, z: Tensor) -> GraphedJacobian:  # type: ignore[override]
        """J at ``z``; the Jacobian that was made before is no longer valid."""
        return self.engine.linearised(self.block, z)

    def to(self, dtype: torch.dtype) -> BlockSystem:
        """The same system, plain, in another arithmetic."""
        return BlockSystem(
            block=self.block.to(dtype), W_h=self.W_h.to(dtype), x=self.x.to(dtype), y=self.y
        )
