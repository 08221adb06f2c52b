"""Which arithmetic serves a run: plain calls, or CUDA graphs with the products of the settings.

An engine makes the system (force, Jacobian, nudge) of one batch. Plain and graphed systems compute the same; the
graphed one keeps weights and inputs in buffers of its own, so the newest system of an engine is its only valid one,
and so is its newest Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from specs.trainer_ep import Compute, EpTrainer, Products
from trainers.ep.block import Folded, Params, force
from trainers.ep.compute.products import split_block
from trainers.ep.compute.replay import Function, Replay
from trainers.ep.compute.unrolling import UnrolledGraph
from trainers.ep.estimators.bptt import Unrolled, bptt
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.linearise import Linearisation, linearise
from trainers.ep.relax import Force, RelaxPolicy, Walk, euler
from trainers.tf32 import tensor_cores

UNROLLED = 10
"""Relaxation steps in one graph."""


class SelfBlocks(Protocol):
    """J at one state, token by token."""

    def self_jvp(self, w: Tensor) -> Tensor: ...


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

    @torch.no_grad()
    def jacobian(self, block: Folded, z: Tensor, noise: Tensor | None = None) -> SelfBlocks:
        """J at ``z`` (B, T, C) without a graph, for its self-blocks."""
        return linearise(block, z, noise)

    def describe(self) -> dict[str, object]:
        return {"cuda_graphs": False, "compile": False, "products": Products.FLOAT32.value}


PLAIN = Plain()


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
        self._functions: dict[object, Replay] = {}
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
            names = _tensor_names(block)

            def flat(z: Tensor, x: Tensor, *weights: Tensor) -> Tensor:
                return force(_with_tensors(block, names, weights), z, x)

            self._differentiable = torch.compile(flat, fullgraph=True, dynamic=False)
        return self._differentiable(z, x, *_tensors(block))

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

    def jacobian(self, block: Folded, z: Tensor, noise: Tensor | None = None) -> SelfBlocks:
        if noise is not None:
            return super().jacobian(block, z, noise)
        return self.linearised(self._kept(block), z)

    @torch.no_grad()
    def linearised(self, kept: Folded, z: Tensor) -> GraphedJacobian:
        """J at ``z`` of a block that lies in the buffers."""
        names, factors_of = _tensor_names(kept), _factor_names(kept)

        def flat(z: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            J = linearise(_with_tensors(kept, names, weights), z)
            return tuple(getattr(J, name) for name in factors_of)

        with self.precision(tf32=False):
            factors = self.run("linearise", flat, 1, z, *_tensors(kept))
        return GraphedJacobian(block=kept, factors=factors, engine=self)

    def _kept(self, block: Folded) -> Folded:
        """``block`` in the buffers, its products as the settings have them."""
        if self._compute.products is Products.TF32X3:
            block = split_block(block)
        kept = self._keep(("block", type(block)), _tensors(block))
        return _with_tensors(block, _tensor_names(block), kept)

    def _keep(self, key: object, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The buffers of ``key``, holding ``values``: graphs read them where they lie."""
        buffers = self._buffers.get(key)
        if buffers is None or any(b.shape != v.shape for b, v in zip(buffers, values, strict=True)):
            buffers = self._buffers[key] = tuple(v.detach().clone() for v in values)
        else:
            torch._foreach_copy_(list(buffers), [v.detach() for v in values])
        return buffers

    def run(
        self, name: object, function: Function, moved: int, *arguments: Tensor
    ) -> tuple[Tensor, ...]:
        """``function`` of ``arguments``, all but the first ``moved`` of them resident."""
        replay = self._functions.get(name)
        if replay is None:
            compiled = (
                torch.compile(function, fullgraph=True, dynamic=False)
                if self._compute.compile
                else function
            )
            replay = Replay(compiled, resident=len(arguments) - moved, pool=self._pool)
            self._functions[name] = replay
        return replay(*arguments)

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
        skeleton, names = self.block, _tensor_names(self.block)

        def flat(z: Tensor, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            return (function(_with_tensors(skeleton, names, weights), z, x),)

        return self.engine.run(name, flat, 1, z, self.x, *_tensors(self.block))

    def linearise(self, z: Tensor) -> GraphedJacobian:  # type: ignore[override]
        """J at ``z``; the Jacobian that was made before is no longer valid."""
        return self.engine.linearised(self.block, z)

    def to(self, dtype: torch.dtype) -> BlockSystem:
        """The same system, plain, in another arithmetic."""
        return BlockSystem(
            block=self.block.to(dtype), W_h=self.W_h.to(dtype), x=self.x.to(dtype), y=self.y
        )


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

    def _replay(
        self, name: str, product: Callable[[Linearisation, Tensor], Tensor], w: Tensor
    ) -> Tensor:
        skeleton, count = self.block, len(self.factors)
        names = _factor_names(skeleton)
        weights = _tensor_names(skeleton)

        def flat(w: Tensor, *resident: Tensor) -> tuple[Tensor, ...]:
            block = _with_tensors(skeleton, weights, resident[count:])
            J = Linearisation(
                block=block, **ABSENT | dict(zip(names, resident[:count], strict=True))
            )
            return (product(J, w),)

        with self.engine.precision(tf32=False):
            (out,) = self.engine.run(name, flat, 1, w, *self.factors, *_tensors(skeleton))
        return out.clone()


ABSENT: dict[str, Any] = {"qk_scale": None, "gain": None}
"""Factors that a graphed Jacobian may lack."""


def _tensor_names(of: Folded) -> tuple[str, ...]:
    return tuple(f.name for f in fields(of) if isinstance(getattr(of, f.name), Tensor))


def _tensors(of: Folded) -> tuple[Tensor, ...]:
    return tuple(getattr(of, name) for name in _tensor_names(of))


def _with_tensors(block: Folded, names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> Folded:
    """``block`` holding other tensors under ``names``."""
    return replace(block, **dict(zip(names, tensors, strict=True)))


def _factor_names(block: Folded) -> tuple[str, ...]:
    """The tensors of a Linearisation without noise, in order."""
    names = ("x_hat", "rstd", "qk", "qk_scale", "v", "P", "slope")
    return names if block.qk_norm else tuple(name for name in names if name != "qk_scale")
