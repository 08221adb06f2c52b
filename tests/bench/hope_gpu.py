"""HOPE on a GPU: a step against the documented layer written plainly, phase 5 and the hybrid against the transformer.

A step is a forward and a backward pass of all losses, without the optimiser. A case and what it is compared with
take turns in one process. Cases that compile come last and are left out, with a note, once `BUDGET` is spent: the whole
stays within four minutes. ``scale`` makes everything small, so that a test can take all of it on a CPU.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from specs.data_clips import PuckData
from specs.trainer_hope import HopeTrainer
from tests.bench.figures import median_interval
from tests.bench.report import Result, Row, ratios
from tests.bench.stage import Stage
from tests.support.naive_hope import naive
from tests.support.peak_memory import PeakMemory
from trainers.data.clips import load
from trainers.hope.compute.compiled import compile_
from trainers.hope.compute.step import Plain, losses_of, step_for
from trainers.hope.draws import Draws, draws_of
from trainers.hope.init import initialise
from trainers.hope.losses import Batch
from trainers.hope.model import Predictor

BUDGET = 170.0
"""Seconds after which no case is begun that compiles."""

ROUNDS = 10
GIB = 1 << 30
Fields = Mapping[str, Any]

P5: Fields = {
    "spatial_mixing": True,
    "temporal_embeddings": True,
    "memories": {"mult": 4, "detach_interval": 2, "surprise_threshold": 0.1},
    "cms": {"mults": [2.0, 2.5, 3.0], "periods": [1, 3, 7], "scheduled": True},
}
D0: Fields = {"pattern": "HHHHHH", "conditioning_bias_std": 0.02, "temporal_embeddings": True}
MODELS: Mapping[str, Fields] = {
    "D0": {"model": {**D0, "memories": {"detach_interval": 1}}},
    "P5": {"model": {**P5, "pattern": "HHHHH"}, "losses": {"isolate_state": False}},
    "hybrid": {
        "model": {**P5, "pattern": "THTHTHTHT"},
        "losses": {"isolate_state": False, "auxiliary": 0.0},
    },
    "ViT-24": {"model": {"pattern": "T" * 24}, "losses": {"auxiliary": 0.0}},
}
FLOAT32: Fields = {}
BFLOAT16: Fields = {"precision": "bfloat16"}
GRAPHS: Fields = {"compute": {"cuda_graphs": True}}
COMPILED: Fields = {"compute": {"cuda_graphs": True, "compile": True}}
WAYS: Mapping[str, Fields] = {
    "fp32, eager": FLOAT32,
    "bf16, eager": BFLOAT16,
    "fp32, CUDA graph": GRAPHS,
    "bf16, CUDA graph": {**BFLOAT16, **GRAPHS},
    "bf16, compiled, CUDA graph": {**BFLOAT16, **COMPILED},
    "fp32, compiled, CUDA graph": COMPILED,
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The size of everything; by default that of the documented runs."""

    samples: int = 16
    model: Fields = field(default_factory=dict)
    data: Fields = field(default_factory=dict)
    depth: int | None = None  # blocks kept of a pattern
    rounds: int = ROUNDS
    clips: int = 64
    ways: Sequence[str] = tuple(WAYS)


@dataclass(frozen=True, kw_only=True)
class Case:
    what: str
    of: str
    way: str


NAIVE = "D0: documented layer, fp32, eager"


def measure(stage: Stage) -> Result:
    if not torch.cuda.is_available():
        return Result(
            name="hope_gpu",
            title="HOPE on a GPU",
            rows=(),
            notes=("needs a CUDA GPU: none is here",),
        )
    return measured(Scale(rounds=ROUNDS * stage.more), torch.device("cuda"))


def measured(scale: Scale, device: torch.device) -> Result:
    torch.set_float32_matmul_precision("highest")
    began = time.monotonic()
    rows: list[Row] = []
    notes: list[str] = [*_checks(scale, device)]
    for way in scale.ways:
        compiles = "compiled" in way
        if compiles and time.monotonic() - began > BUDGET:
            notes.append(f"left out, as {BUDGET:.0f} s were spent: {way}")
            continue
        for what, pair in _pairs(way).items():
            with _freed():
                found, note = _pair(scale, device, what, pair)
            rows += found
            notes.append(note)
    title = f"HOPE, B={scale.samples}, T=7, forward and backward pass, on {device}"
    return Result(name="hope_gpu", title=title, rows=tuple(rows), notes=tuple(notes))


def _pairs(way: str) -> Mapping[str, tuple[Case, Case]]:
    """What is compared -> the case, and what it is measured by."""
    plain = Case(what=NAIVE, of="D0", way="fp32, eager")
    pairs = {f"D0, {way}": (Case(what=f"D0: ours, {way}", of="D0", way=way), plain)}
    if way.startswith("bf16") or way == "fp32, eager":
        vit = Case(what=f"ViT-24: {way}", of="ViT-24", way=way)
        for name in ("P5", "hybrid"):
            pairs[f"{name}, {way}"] = Case(what=f"{name}: {way}", of=name, way=way), vit
    return pairs


def _pair(
    scale: Scale, device: torch.device, what: str, pair: tuple[Case, Case]
) -> tuple[list[Row], str]:
    ours, other = pair
    try:
        steps = [_step_of(scale, device, case) for case in pair]
        mine, theirs = _in_turns(steps, scale.rounds, device)
    except torch.cuda.OutOfMemoryError as error:
        return [], f"{what}: out of memory: {str(error).splitlines()[0]}"
    by = f"{other.what} (beside {ours.what})"
    rows = [
        Row(what=by, samples=theirs),
        Row(what=ours.what, samples=mine, against=by, paired=True),
    ]
    found = median_interval(ratios(rows[0], rows[1]))
    verdict = f"{what}: {found.low:.2f} to {found.high:.2f} times as fast as {other.what}"
    return rows, f"{verdict} ({100 * found.confidence:.0f} % interval of the median)"


def settings_of(scale: Scale, of: str, way: Fields) -> HopeTrainer:
    given = merged({"kind": "hope", "steps": 1, "batch": scale.samples}, MODELS[of])
    given = merged(given, {"model": {"pattern": given["model"]["pattern"][: scale.depth]}})
    given = merged(merged(given, way), {"model": scale.model, "data": scale.data})
    return HopeTrainer.model_validate(given)


def merged(lower: Fields, upper: Fields) -> dict[str, Any]:
    """Maps merged deeply."""
    both = {
        name: merged(lower[name], value) if isinstance(value, Mapping) and name in lower else value
        for name, value in upper.items()
    }
    return {**lower, **both}


def _step_of(scale: Scale, device: torch.device, case: Case) -> Callable[[], object]:
    settings = settings_of(scale, case.of, WAYS[case.way])
    model, batch, draws = problem(settings, device)
    if case.what == NAIVE:
        plain = Plain(naive(model), settings)
        return lambda: _cleared(plain, batch, draws)
    if settings.compute.compile:
        compile_(model)
    step = step_for(model, settings, device)
    return lambda: _cleared(step, batch, draws, model)


def _cleared(step: Any, batch: Batch, draws: Draws, model: Predictor | None = None) -> None:
    for parameter in (model or step._model).parameters():
        parameter.grad = None
    step(batch, draws)


def problem(settings: HopeTrainer, device: torch.device) -> tuple[Predictor, Batch, Draws]:
    """A model at its start and a batch of clips with the documents' zeros."""
    source = torch.Generator().manual_seed(0)
    down, across = settings.data.grid
    samples, context, width = settings.batch, settings.context, settings.data.feature_width
    model = Predictor(
        settings.model, grid=(down, across), feature_width=width, context=settings.context
    )
    initialise(model, settings.model, source)
    features = 3.2 * torch.randn(samples, context + 1, down * across, width, generator=source)
    actions = torch.zeros(samples, context, 2)
    actions[:, 0] = torch.randn(samples, 2, generator=source)
    batch = Batch(
        features=features.to(device),
        actions=actions.to(device),
        states=torch.zeros(samples, context, 2, device=device),
    )
    return model.to(device), batch, draws_of(settings, samples, 0, 0, device)


def _in_turns(
    steps: Sequence[Callable[[], object]], rounds: int, device: torch.device
) -> list[tuple[float, ...]]:
    for step in steps:  # compiled, captured, libraries warm
        step()
        step()
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, seconds in zip(steps, taken, strict=True):
            seconds.append(timed(step, device))
    return [tuple(seconds) for seconds in taken]


def timed(step: Callable[[], object], device: torch.device) -> float:
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


def _checks(scale: Scale, device: torch.device) -> Iterator[str]:
    """What is no time of a step: memory, synchronisations, clips."""
    for of in ("D0", "P5"):
        with _freed():
            yield _checkpointing(scale, device, of)
    with _freed():
        yield _synchronisations(scale, device)
    with _freed():
        yield _clips(scale, device)


def _checkpointing(scale: Scale, device: torch.device, of: str) -> str:
    """At interval 0, where the graph through the memories is never cut. Parameters and clips are left out."""
    peaks = []
    for checkpoint in (False, True):
        more = {"model": {"checkpoint_blocks": checkpoint, "memories": {"detach_interval": 0}}}
        with _freed():
            peaks.append(_peak(settings_of(scale, of, more), device))
    plain, recomputed = peaks
    return (
        f"{of}, interval 0, fp32: peak {plain / GIB:.2f} GiB, with block checkpointing "
        f"{recomputed / GIB:.2f} GiB: {recomputed / plain:.2f} of it"
    )


def _peak(settings: HopeTrainer, device: torch.device) -> int:
    model, batch, draws = problem(settings, device)
    step = Plain(model, settings)
    if device.type != "cuda":
        with PeakMemory(held=[*model.parameters(), batch.features]) as memory:
            step(batch, draws)
        return memory.peak
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step(batch, draws)
    return torch.cuda.max_memory_allocated() - before


def _synchronisations(scale: Scale, device: torch.device) -> str:
    settings = settings_of(scale, "hybrid", BFLOAT16)
    model, batch, draws = problem(settings, device)
    losses_of(model, settings, batch, draws)
    if device.type != "cuda":
        return "host synchronisations: known on a GPU alone"
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses_of(model, settings, batch, draws)
    except RuntimeError as error:
        return f"a forward pass waits for the GPU: {str(error).splitlines()[0]}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "host synchronisations in a forward pass of teacher and jump: 0"


def _clips(scale: Scale, device: torch.device) -> str:
    data = PuckData.model_validate({**scale.data, "clips": scale.clips})
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        load(data, 0, Path(folder), device, tasks=["base"])
        _wait(device)
    seconds = time.perf_counter() - began
    return f"clips made: {scale.clips} in {seconds:.1f} s, {scale.clips / seconds:.0f} a second"
