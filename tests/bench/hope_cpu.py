"""HOPE on a CPU with two threads: a training step and the write alone, against the documented layer written plainly.

A step is a forward and a backward pass of teacher, jump and auxiliary loss, at the documented width and grid and a
depth of 2. Ours and the plain one take turns, so that a machine that slowly becomes slower favours none; the ratio
is the median of the pairs', plain over ours: how many times as fast. One pair has bfloat16 products in ours alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch

from specs.trainer_hope import HopeModel, Losses, Memories
from tests.bench.figures import median_interval
from tests.bench.report import Result, Row, ratios
from tests.bench.stage import Stage
from tests.support.naive_hope import NaiveMemories, naive
from trainers.hope import writing
from trainers.hope.init import initialise
from trainers.hope.losses import Batch, lost
from trainers.hope.model import Predictor
from trainers.hope.titan import Needs, SelfModifying

THREADS = 2
STEPS, WRITES = 7, 25
GRID, FEATURES, CONTEXT, WIDTH = (16, 16), 1024, 7, 384
TOKENS = 2 + GRID[0] * GRID[1]
INTERVALS = (1, 4)
SAMPLES = (1, 4)
TAU = torch.tensor([6])

Part = Callable[[], object]


def measure(stage: Stage) -> Result:
    rows: list[Row] = []
    notes: list[str] = []
    with _threads(THREADS):
        for what, ours, plain, rounds in _pairs():
            samples = _in_turns({"ours": ours, "plain": plain}, rounds * stage.more)
            mine = Row(what=f"{what}, ours", samples=samples["ours"])
            other = Row(
                what=f"{what}, plain", samples=samples["plain"], against=mine.what, paired=True
            )
            rows += [mine, other]
            found = median_interval(ratios(other, mine))
            notes.append(
                f"{what}: {found.low:.2f} to {found.high:.2f} times as fast "
                f"({100 * found.confidence:.0f} % interval of the median)"
            )
    title = f"HOPE, {THREADS} CPU threads, D={WIDTH}, mult 2, {TOKENS} tokens a frame"
    return Result(name="hope_cpu", title=title, rows=tuple(rows), notes=tuple(notes))


def _pairs() -> Iterator[tuple[str, Part, Part, int]]:
    """What, ours, plain, rounds."""
    for interval in INTERVALS:
        ours, plain = _steps(interval)
        yield f"step, depth 2, T=7, B=1, interval {interval}", ours, plain, STEPS
    ours, plain = _steps(1)
    what = "step, depth 2, T=7, B=1, interval 1, bfloat16 products against float32 ones"
    yield what, partial(ours, bfloat16=True), plain, STEPS
    for samples in SAMPLES:
        ours, plain = _writes(samples)
        yield f"write of five memories, B={samples}", ours, plain, WRITES


def _steps(interval: int) -> tuple[Part, Part]:
    settings = HopeModel.model_validate({
        "pattern": "HH", "width": WIDTH, "drop_path": 0.0, "temporal_embeddings": True,
        "conditioning_bias_std": 0.02, "memories": {"detach_interval": interval},
    })  # fmt: skip
    source = torch.Generator().manual_seed(0)
    model = Predictor(settings, grid=GRID, feature_width=FEATURES, context=CONTEXT)
    initialise(model, settings, source)
    batch = Batch(
        features=torch.randn(1, CONTEXT + 1, GRID[0] * GRID[1], FEATURES, generator=source),
        actions=torch.randn(1, CONTEXT, 2, generator=source),
        states=torch.zeros(1, CONTEXT, 2),
    )
    return partial(_step, model, batch), partial(_step, naive(model), batch)


def _step(model: Predictor, batch: Batch, *, bfloat16: bool = False) -> None:
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        total = lost(model, batch, Losses(), TAU).total
    total.backward()


def _writes(samples: int) -> tuple[Part, Part]:
    """The write of one frame, from the tokens that were read of it; the parameters begin as a model's do."""
    source = torch.Generator().manual_seed(0)
    layer = SelfModifying(WIDTH, Memories())
    with torch.no_grad():
        for module in layer.memories.values():
            module.W1.normal_(0.0, 0.02, generator=source)
            module.W2.normal_(0.0, 0.02, generator=source)
    plain, x = NaiveMemories(layer), torch.randn(samples, TOKENS, WIDTH, generator=source)
    with torch.no_grad():
        begun, state = layer.begin(samples), plain.begin(samples)[0]
        norms, needs = layer.norms(), Needs(keys=False, rates=False, write=True)
        seen = layer._read(begun, norms, x, layer._queries(x), needs)
    assert seen.k is not None and seen.v is not None and seen.rates is not None
    tokens = (seen.k, seen.v, *seen.rates, (seen.v - seen.o).norm(dim=-1).mean(-1))

    @torch.no_grad()
    def ours() -> None:
        writing.write(begun, layer._write_of(begun, norms, seen, None), layer.settings)

    return ours, torch.no_grad()(partial(plain.write, state, *tokens))


def _in_turns(parts: Mapping[str, Part], rounds: int) -> Mapping[str, tuple[float, ...]]:
    samples: dict[str, list[float]] = {what: [] for what in parts}
    for part in parts.values():
        part()
    for _ in range(rounds):
        for what, part in parts.items():
            began = time.perf_counter()
            part()
            samples[what].append(time.perf_counter() - began)
    return {what: tuple(seconds) for what, seconds in samples.items()}


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
