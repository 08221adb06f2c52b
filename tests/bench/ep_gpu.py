"""One training gradient of the EP core on a GPU, against the documented step written plainly and against BPTT.

The size is that of the documented runs. All cases take turns in one process; the naive step and BPTT are those of
tests/support/naive_ep.py and of the core itself. Peak memory is taken case by case, with the cache emptied before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as nn

from specs.trainer_ep import EpTrainer
from tests.bench.report import Result, Row
from tests.bench.stage import Stage
from tests.support.naive_ep import Naive
from trainers.ep.abscissa import rightmost
from trainers.ep.block import Params, embed, fold, force, init, start
from trainers.ep.compute.engine import engine_for
from trainers.ep.compute.replay import Replay
from trainers.ep.linearise import linearise
from trainers.ep.relax import euler
from trainers.ep.task import task_gradient

ROUNDS = 5
VOCABULARY = 4096
GIB = 1 << 30
SIZE: Mapping[str, Any] = {"width": 512, "heads": 16, "context": 256, "batch": 24}
RELAXATION: Mapping[str, Any] = {"T1": 150, "t1max": 150}
FORTY: Mapping[str, Any] = {"max_steps": 40, "tolerance": 1e-12, "radius": 0.02}
"""The documented trainer's. The fortieth application of J^T measures r_adj: 39 updates are behind it."""
TIGHT: Mapping[str, Any] = {"max_steps": 1000, "tolerance": 1e-5}

NAIVE = "EP by the documents: eager, explicit attention, two jvp and vjp a step"
BPTT = "BPTT: compiled force, nothing recomputed"
CASES: Mapping[str, Mapping[str, Any]] = {
    "ep, N=2 tracked, 40 nudged steps": {"estimator": "ep", "adjoint": FORTY},
    "the same, 3xTF32 products": {
        "estimator": "ep",
        "adjoint": FORTY,
        "compute": {"compile": True, "products": "3xtf32"},
    },
    "exact (GMRES to 1e-2), Euler": {"estimator": "exact", "adjoint": {"max_steps": 60}},
    "exact (GMRES to 1e-2), Anderson": {
        "estimator": "exact",
        "adjoint": {"max_steps": 60},
        "relaxation": {"solver": "anderson", "T1": 150, "t1max": 150, "tolerance": 1e-4},
    },
    BPTT: {"estimator": "bptt"},
}
_AGAINST = {"ep, N=2 tracked, 40 nudged steps": NAIVE, "the same, 3xTF32 products": NAIVE}

Step = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    seconds: tuple[float, ...]
    peak: int  # bytes
    gradient: Tensor  # flat, on the CPU


def measure(stage: Stage) -> Result:
    if not torch.cuda.is_available():
        return Result(
            name="ep_gpu", title=TITLE, rows=(), notes=("needs a CUDA GPU: none is here",)
        )
    torch.set_float32_matmul_precision("highest")
    params, idx, y = _problem()
    steps: dict[str, Step] = {NAIVE: partial(_naive().gradient, params, idx, y)}
    for what, more in CASES.items():
        settings = _settings(more)
        engine = engine_for(settings, torch.device("cuda"))
        steps[what] = lambda s=settings, e=engine: task_gradient(params, s, idx, y, e).gradient
    measured = _in_turns(steps, ROUNDS * stage.more)
    rows = tuple(
        Row(
            what=what,
            samples=of.seconds,
            against=None if what == BPTT else _AGAINST.get(what, BPTT),
        )
        for what, of in measured.items()
    )
    return Result(
        name="ep_gpu",
        title=TITLE,
        rows=rows,
        notes=(
            *_agreement(measured, params, idx, y),
            *_memory(measured),
            *_rates(params, idx),
            _probe(params, idx),
        ),
    )


TITLE = "a gradient at C=512 H=16 T=256 B=24, T1=150, float32, on a GPU"


def _settings(more: Mapping[str, Any]) -> EpTrainer:
    given = {"compute": {"compile": True}, "relaxation": RELAXATION, **SIZE, **more}
    return EpTrainer.model_validate({"kind": "ep", **given})


def _naive(**more: Any) -> Naive:
    return Naive(heads=SIZE["heads"], damping=1.0, **more)


def _problem() -> tuple[Params, Tensor, Tensor]:
    """Parameters scaled so that attention and MLP matter, as they do after some training."""
    settings = EpTrainer.model_validate({"kind": "ep", "init_scale": 0.6, **SIZE})
    source = torch.Generator().manual_seed(0)
    params = Params(*(t.cuda().requires_grad_() for t in init(settings, VOCABULARY, source)))
    words = torch.randint(
        VOCABULARY, (settings.batch, settings.context + 1), generator=source
    ).cuda()
    return params, words[:, :-1].contiguous(), words[:, 1:].contiguous()


def _in_turns(steps: Mapping[str, Step], rounds: int) -> dict[str, Measured]:
    gradients, peaks = {}, {}
    for what, step in steps.items():  # warm: graphs are captured, kernels compiled
        step()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        gradients[what] = _flat(step())
        peaks[what] = torch.cuda.max_memory_allocated()
    taken: dict[str, list[float]] = {what: [] for what in steps}
    for _ in range(rounds):
        for what, step in steps.items():
            taken[what].append(_timed(step))
    return {
        what: Measured(seconds=tuple(taken[what]), peak=peaks[what], gradient=gradients[what])
        for what in steps
    }


def _timed(step: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def _agreement(
    measured: Mapping[str, Measured], params: Params, idx: Tensor, y: Tensor
) -> list[str]:
    """Cosines of every gradient with three references.

    Forty nudged steps end before the adjoint has converged, so their answer depends on where the phases start:
    the documents start at the free state, trainers/ep one step of the silent block ahead. The same answer is
    therefore asked of equal starts, and the exact one says which start is nearer the truth.
    """
    alike = _naive(T2=FORTY["max_steps"] - 1, ahead=True)
    exact = task_gradient(params, _settings({"estimator": "exact", "adjoint": TIGHT}), idx, y)
    left = float("nan") if exact.adjoint is None else float(exact.adjoint.r_adj.max())
    references = {
        "naive, as documented": measured[NAIVE].gradient,
        "naive, phases started alike": _flat(alike.gradient(params, idx, y)),
        f"exact (GMRES, r_adj {left:.1e})": _flat(exact.gradient),
    }
    return [
        f"cosine with {reference}: {what}: {_cosine(of.gradient, truth):.7f}"
        for reference, truth in references.items()
        for what, of in measured.items()
        if of.gradient is not truth
    ]


def _flat(gradient: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([g.detach().flatten() for g in gradient]).cpu()


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(nn.cosine_similarity(a.double(), b.double(), dim=0))


def _memory(measured: Mapping[str, Measured]) -> list[str]:
    most = measured[BPTT].peak
    return [
        f"peak memory: {what}: {of.peak / GIB:.2f} GiB, {of.peak / most:.3f} of BPTT's"
        for what, of in measured.items()
    ]


@torch.no_grad()
def _rates(params: Params, idx: Tensor) -> list[str]:
    """The free phase as a part of the rate that the GPU's own matrix products of these shapes reach."""
    block, x = fold(params, _settings({})), embed(params, idx)
    z = start(block, x)
    tokens, width, heads_and_all = idx.numel(), block.width, block.W_in.shape[1]
    products = 2 * tokens * (width * heads_and_all + block.W_out.shape[0] * width)
    attention = 4 * idx.shape[0] * idx.shape[1] ** 2 * width
    h, joined = torch.randn(tokens, width).cuda(), torch.randn(tokens, len(block.W_out)).cuda()
    of_products = _best(lambda: (block.project_in(h), block.project_out(joined)))
    rate = products / of_products
    ten = Replay(
        torch.compile(lambda u: (euler(lambda v: force(block, v, x), u, 0.1, 10),), fullgraph=True)
    )
    free = _best(lambda: ten(z)) / 10
    return [
        f"matrix products of the block: {rate / 1e12:.1f} TFLOP/s in float32",
        f"a free-phase step: {free * 1e3:.3f} ms, {(products + attention) / free / rate:.0%} of that rate",
    ]


def _best(step: Callable[[], object], times: int = 20) -> float:
    for _ in range(3):
        step()
    return sorted(_timed(step) for _ in range(times))[times // 2]


@torch.no_grad()
def _probe(params: Params, idx: Tensor) -> str:
    block, x = fold(params, _settings({})), embed(params, idx[:1])
    z = euler(lambda u: force(block, u, x), start(block, x), 0.1, 150)
    began = time.perf_counter()
    found = rightmost(linearise(block, z))
    return f"exact spectrum of one sequence: {time.perf_counter() - began:.1f} s, max Re mu {found.re_mu:.3f}"
