"""HOPE on a GPU: a step against the documented layer written plainly, phase 5 and the hybrid against the transformer.

A step is a forward and a backward pass of all losses, without the optimiser. Cases of a group take turns in one
process. Every finding is said on stderr as soon as it is there, so that a run that is cut off has lost nothing; a case
that fails is reported and the others go on. ``--only WORD`` takes the cases that are named so, and what they are
compared with; cases that compile, for minutes, are taken no other way (``--only compiled``), and none of them is begun
once `BUDGET` is spent. `Scale` makes everything small, so that a test can take all of it on a CPU.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from tests.bench import hope_gpu_checks as checks
from tests.bench import hope_gpu_products
from tests.bench.figures import Interval, median_interval, summary
from tests.bench.hope_models import WAYS, Scale, problem, settings_of
from tests.bench.report import Result, Row, ratios, shown
from tests.bench.stage import Stage
from tests.support.naive_hope import naive
from trainers.hope.compute.compiled import compile_
from trainers.hope.compute.step import Plain, step_for
from trainers.hope.draws import Draws
from trainers.hope.losses import Batch
from trainers.hope.model import Predictor

BUDGET = 130.0
"""Seconds after which no group is begun that compiles: the last one may take most of two minutes."""

GOALS: Mapping[str, float] = {
    "D0: fp32, CUDA graph": 3.0,
    "D0: 3xTF32, CUDA graph": 3.0,
    "D0: bf16, CUDA graph": 5.0,
    "P5: 3xTF32, CUDA graph": 1.0,
    "P5: bf16, CUDA graph": 1.0,
    "hybrid: 3xTF32, CUDA graph": 1 / 0.7,
    "hybrid: bf16, CUDA graph": 1 / 0.7,
}
"""How many times as fast as what it is compared with a case shall be."""

WARM_UP = 2
Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    what: str
    of: str
    way: str


NAIVE = Case(what="D0: documented layer, fp32, eager", of="D0", way="fp32, eager")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is taken in one piece. ``take`` may say what it found."""

    name: str
    take: Callable[[], str | None]
    compiles: bool = False


@dataclass(kw_only=True)
class Found:
    """Rows and notes so far. A note is said as soon as it is known."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)
        print(f"hope_gpu: {text}", file=sys.stderr, flush=True)


def measure(stage: Stage) -> Result:
    if not torch.cuda.is_available():
        return Result(
            name="hope_gpu",
            title="HOPE on a GPU",
            rows=(),
            notes=("needs a CUDA GPU: none is here",),
        )
    scale = Scale(rounds=Scale.rounds * stage.more)
    return measured(scale, torch.device("cuda"), stage.only)


def measured(scale: Scale, device: torch.device, only: str | None = None) -> Result:
    """Raises ValueError where ``only`` is in no name."""
    torch.set_float32_matmul_precision("highest")
    began = time.monotonic()
    found = Found()
    parts = [*parts_of(scale, device, found, only)]
    if not parts:
        raise ValueError(
            f"--only {only}: no case is named so; names are like {_case('P5', 'fp32, eager').what}"
        )
    for part in parts:
        if part.compiles and only is None:
            found.note(f"left out, as it compiles: {part.name} (--only compiled)")
        elif part.compiles and time.monotonic() - began > BUDGET:
            found.note(f"left out, as {BUDGET:.0f} s were spent: {part.name}")
        else:
            _taken(found, part)
    title = f"HOPE, B={scale.samples}, T=7, forward and backward pass, on {device}"
    return Result(name="hope_gpu", title=title, rows=tuple(found.rows), notes=tuple(found.notes))


def parts_of(scale: Scale, device: torch.device, found: Found, only: str | None) -> Iterator[Part]:
    """In the order in which they are taken."""

    def groups(*, compiled: bool) -> Iterator[Part]:
        for cases in groups_of(scale.ways, compiled=compiled):
            kept = [case for case in cases if named(case.what, only)]
            if kept:
                together = cases[:1] + tuple(case for case in kept if case is not cases[0])
                take = partial(_group, found, scale, device, together)
                yield Part(name=together[-1].what, take=take, compiles=compiled)

    def alone() -> Iterator[Part]:
        for of in ("D0", "P5"):
            take = partial(checks.checkpointing, scale, device, of)
            yield Part(name=f"peak memory of {of}", take=take)
        yield Part(name="clips", take=partial(checks.clips, scale, device))
        yield Part(name="products", take=partial(_products, found, scale, device))

    synchronisations = Part(
        name="synchronisations", take=partial(checks.synchronisations, scale, device)
    )
    yield from (part for part in [synchronisations] if named(part.name, only))
    yield from groups(compiled=False)
    yield from (part for part in alone() if named(part.name, only))
    yield from groups(compiled=True)


def named(name: str, only: str | None) -> bool:
    return only is None or only.lower() in name.lower()


def _products(found: Found, scale: Scale, device: torch.device) -> None:
    for line in hope_gpu_products.products(device, scale.shrunk):
        found.note(f"product of {line}")


def groups_of(ways: Sequence[str], *, compiled: bool) -> list[tuple[Case, ...]]:
    """What takes turns, the most telling first; the first of a group is what the others are compared with."""
    own = [way for way in ways if ("compiled" in way) == compiled]
    bfloat16 = [way for way in reversed(own) if way.startswith("bf16")]
    three = [way for way in own if way.startswith("3xTF32")]
    against_vit = [*bfloat16[:1], *three, *bfloat16[1:], *(w for w in own if w == "fp32, eager")]
    groups = [tuple(_case(of, way) for of in ("ViT-24", "P5", "hybrid")) for way in against_vit]
    if not compiled:
        documented = [(NAIVE, *(_case("D0", way) for way in own))] if own else []
        return [*groups[:1], *documented, *groups[1:]]
    alone = [(NAIVE, _case("D0", way)) for way in reversed(own)]
    return [*alone[:1], *groups, *alone[1:]]


def _case(of: str, way: str) -> Case:
    return Case(what=f"{of}: {way}", of=of, way=way)


def _taken(found: Found, part: Part) -> None:
    """Note what ``part`` says, if anything, or why it failed."""
    with _freed():
        try:
            said = part.take()
        except Exception as error:  # noqa: BLE001 - whatever it was, the other findings are taken
            said = f"{part.name}: failed: {_said(error)}"
        if said is not None:
            found.note(said)


def _group(found: Found, scale: Scale, device: torch.device, cases: Sequence[Case]) -> None:
    """Every case that can be set up and takes two steps, in turns."""
    steps: dict[Case, Step] = {}
    for case in cases:
        try:
            step = _step_of(scale, device, case)
            for _ in range(WARM_UP):  # compiled, captured, libraries warm
                timed(step, device)
            steps[case] = step
        except Exception as error:  # noqa: BLE001 - reported; the other cases are taken
            found.note(f"{case.what}: failed: {_said(error)}")
    for row in _rows(cases, _in_turns(steps, scale.rounds, device)):
        found.rows.append(row)
        found.note(_verdict(row, found.rows))


def _rows(cases: Sequence[Case], taken: Mapping[Case, tuple[float, ...]]) -> Iterator[Row]:
    """Names are those of one table: what others are compared with is named after its group."""
    first, beside = cases[0], cases[-1].way
    by = first.what if first.way == beside else f"{first.what} (beside {beside})"
    for case, samples in taken.items():
        if case is first:
            yield Row(what=by, samples=samples)
        else:
            compared = first in taken
            yield Row(
                what=case.what, samples=samples, against=by if compared else None, paired=compared
            )


def _verdict(row: Row, rows: Sequence[Row]) -> str:
    of = summary(row.samples)
    said = f"{row.what}: {shown(of.median)} ({shown(of.low)} .. {shown(of.high)})"
    other = next((other for other in rows if other.what == row.against), None)
    if other is None:
        return said
    times = median_interval(ratios(other, row))
    return (
        f"{said}; {times.low:.2f} to {times.high:.2f} times as fast as {other.what} "
        f"({100 * times.confidence:.0f} % interval of the median){_against_goal(row.what, times)}"
    )


def _against_goal(what: str, times: Interval) -> str:
    goal = GOALS.get(what)
    if goal is None:
        return ""
    met = "met" if times.low >= goal else "not met" if times.high < goal else "undecided"
    return f"; goal {goal:.3g}: {met}"


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _step_of(scale: Scale, device: torch.device, case: Case) -> Step:
    settings = settings_of(scale, case.of, WAYS[case.way])
    model, batch, draws = problem(settings, device)
    if case is NAIVE:
        twin = naive(model)
        plain = Plain(twin, settings)
        return lambda: _cleared(plain, batch, draws, twin)
    if settings.compute.compile:
        compile_(model)
    step = step_for(model, settings, device)
    return lambda: _cleared(step, batch, draws, model)


def _cleared(step: Any, batch: Batch, draws: Draws, model: Predictor) -> None:
    for parameter in model.parameters():
        parameter.grad = None
    step(batch, draws)


def _in_turns(
    steps: Mapping[Case, Step], rounds: int, device: torch.device
) -> dict[Case, tuple[float, ...]]:
    taken: dict[Case, list[float]] = {case: [] for case in steps}
    for _ in range(rounds):
        for case, step in steps.items():
            taken[case].append(timed(step, device))
    return {case: tuple(seconds) for case, seconds in taken.items()}


def timed(step: Step, device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


@contextmanager
def _freed() -> Iterator[None]:
    try:
        yield
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
