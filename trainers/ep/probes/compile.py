"""Is the fast arithmetic the same arithmetic? Compiled and graphed free phases against the eager one, in float32."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from specs.trainer_ep import Compute, Products
from trainers.ep.block import Folded, Params, force
from trainers.ep.compute.engine import Graphed
from trainers.ep.norms import per_sequence_norm
from trainers.ep.probes import Say
from trainers.ep.probes.model import Model
from trainers.ep.relax import euler

Walk = Callable[[Tensor, int], Tensor]
"""So many Euler steps from a state."""


@dataclass(frozen=True, kw_only=True)
class Options:
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats is {self.repeats}, allowed: 1 or more")


@dataclass(frozen=True, kw_only=True)
class CompileRow:
    """One way of computing T1 Euler steps. ``difference``: ||z - z_eager|| / ||z_eager||, the worst sequence's."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model", "variant", "difference", "ms_per_step", "speed_up",
    )  # fmt: skip

    model: str
    variant: str
    steps: int
    difference: float | None  # None where the variant does not run here
    ms_per_step: float | None
    speed_up: float | None  # over eager
    finding: str


def probe(model: Model, options: Options, say: Say) -> tuple[CompileRow, ...]:
    """One row a variant; the model is taken to float32, which training uses."""
    model = model.with_params(Params(*(t.float() for t in model.params)))
    steps = model.settings.relaxation.T1
    rows: list[CompileRow] = []
    eager: tuple[Tensor, float] | None = None
    for variant, make in _variants(model).items():
        say(f"{model.name}: {variant}")
        try:
            z, ms = _timed(make(), model.start, steps, options.repeats)
        except Exception as error:  # noqa: BLE001 - compilers fail in ways of their own; the row says how
            rows.append(_missing(model.name, variant, steps, _brief(error)))
            continue
        eager = eager or (z, ms)
        rows.append(_row(model.name, variant, steps, z, ms, eager))
    if model.start.device.type != "cuda":
        rows.append(_missing(model.name, "graphs", steps, "CUDA graphs need a GPU"))
    return tuple(rows)


def _variants(model: Model) -> dict[str, Callable[[], Walk]]:
    """Eager first."""
    variants: dict[str, Callable[[], Walk]] = {
        "eager": lambda: _eager(model),
        "compiled": lambda: _compiled(model),
    }
    if model.start.device.type == "cuda":
        for name, compute in (
            ("graphs", Compute()),
            ("graphs, compiled", Compute(compile=True)),
            ("graphs, 3xtf32", Compute(products=Products.TF32X3)),
        ):
            variants[name] = lambda compute=compute: _graphed(model, compute)  # type: ignore[misc]
    return variants


def _eager(model: Model) -> Walk:
    return lambda z, steps: euler(model.system.force, z, model.eps, steps)


def _compiled(model: Model) -> Walk:
    block, x, eps = model.block, model.system.x, model.eps

    def step(block: Folded, z: Tensor, x: Tensor) -> Tensor:
        return torch.add(z, force(block, z, x), alpha=eps)

    fast = torch.compile(step, fullgraph=True, dynamic=False)

    def walk(z: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            z = fast(block, z, x)
        return z

    return walk


def _graphed(model: Model, compute: Compute) -> Walk:
    system = Graphed(compute).system(model.block, model.params.W_h, model.system.x, model.y)
    return lambda z, steps: system.walk(system.force, z, model.eps, steps)


@torch.no_grad()
def _timed(walk: Walk, z: Tensor, steps: int, repeats: int) -> tuple[Tensor, float]:
    """The state after ``steps``, and milliseconds a step: the best of the repeats, the first call left out."""
    out, best = walk(z, steps), float("inf")
    for _ in range(repeats):
        _wait(z)
        begin = time.perf_counter()
        walk(z, steps)
        _wait(z)
        best = min(best, time.perf_counter() - begin)
    return out, 1e3 * best / steps


def _wait(z: Tensor) -> None:
    if z.is_cuda:
        torch.cuda.synchronize()


def _row(
    name: str, variant: str, steps: int, z: Tensor, ms: float, eager: tuple[Tensor, float]
) -> CompileRow:
    reference, eager_ms = eager
    difference = float((per_sequence_norm(z - reference) / per_sequence_norm(reference)).max())
    return CompileRow(
        model=name,
        variant=variant,
        steps=steps,
        difference=difference,
        ms_per_step=ms,
        speed_up=eager_ms / ms,
        finding="what the others are compared with" if variant == "eager" else "",
    )


def _missing(name: str, variant: str, steps: int, why: str) -> CompileRow:
    return CompileRow(
        model=name,
        variant=variant,
        steps=steps,
        difference=None,
        ms_per_step=None,
        speed_up=None,
        finding=f"does not run here: {why}",
    )


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
