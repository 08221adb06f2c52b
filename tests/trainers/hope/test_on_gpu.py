"""HOPE on a GPU: the numbers of a CPU, no waiting, bfloat16 that stays finite, memory that checkpointing saves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import Losses
from tests.trainers.hope import small
from trainers.hope.compute.compiled import compile_
from trainers.hope.losses import Batch, lost
from trainers.hope.model import Predictor
from trainers.hope.trainer import build

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda")
TAU = torch.tensor([3, 4])
EVERYTHING: dict[str, Any] = {
    "pattern": "HTUH",
    "spatial_mixing": True,
    "temporal_embeddings": True,
    "cms": {"mults": [1.0, 1.5], "periods": [1, 3], "scheduled": True},
}
LOSSES = Losses(auxiliary=0.1, rollout=1.0, rollout_frames=3)


@pytest.fixture(autouse=True)
def float32_products() -> None:
    torch.set_float32_matmul_precision("highest")


def model_of(interval: int, *, scope: str = "shared", **more: Any) -> Predictor:
    memories = {"detach_interval": interval, "scope": scope}
    of = small.settings(**{**EVERYTHING, **more, "memories": memories})
    return small.trained(small.predictor(of, dtype=torch.float32), 0.1)


def on(batch: Batch, device: torch.device) -> Batch:
    return Batch(
        features=batch.features.to(device),
        actions=batch.actions.to(device),
        states=batch.states.to(device),
    )


def gradients(model: Predictor, device: torch.device, *, bfloat16: bool = False) -> list[Tensor]:
    """The loss, then the gradient of every parameter, on the CPU."""
    model, batch = model.to(device), on(small.batch(dtype=torch.float32), device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
        total = lost(model, batch, LOSSES, TAU.to(device)).total
    found = torch.autograd.grad(
        total, list(model.parameters()), allow_unused=True, materialize_grads=True
    )
    return [t.detach().cpu() for t in (total, *found)]


def assert_close(ours: list[Tensor], theirs: list[Tensor], rel: float) -> None:
    whole = torch.stack([t.norm() for t in theirs]).norm()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= rel * max(b.norm(), 1e-2 * whole)


@pytest.mark.parametrize("scope", ["shared", "per_sample"])
@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_a_gpu_gives_the_losses_and_gradients_of_a_cpu(interval: int, scope: str) -> None:
    here = gradients(model_of(interval, scope=scope), torch.device("cpu"))
    assert_close(gradients(model_of(interval, scope=scope), GPU), here, 1e-4)


@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_compiled_blocks_give_the_gradients_of_eager_ones(interval: int) -> None:
    eager, compiled = model_of(interval), model_of(interval).to(GPU)
    compile_(compiled)
    assert_close(gradients(compiled, GPU), gradients(eager, GPU), 1e-4)


@pytest.mark.parametrize("depth", [1, 6])
@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_bfloat16_products_stay_finite(interval: int, depth: int) -> None:
    of = small.settings(
        pattern="H" * depth, width=48, heads=4, memories={"detach_interval": interval}
    )
    model = small.predictor(of, context=7, dtype=torch.float32).to(GPU)
    batch = on(small.batch(context=7, dtype=torch.float32), GPU)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        total = lost(model, batch, Losses(), torch.tensor([5, 7], device=GPU)).total
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_recomputing_blocks_changes_nothing(interval: int) -> None:
    kept = gradients(model_of(interval), GPU)
    again = gradients(model_of(interval, checkpoint_blocks=True), GPU)
    assert_close(again, kept, 1e-6)


def test_recomputing_blocks_needs_less_than_half_the_memory() -> None:
    peaks = []
    for checkpoint in (False, True):
        of = small.settings(
            pattern="HHHHHH", memories={"detach_interval": 0}, checkpoint_blocks=checkpoint
        )
        model = small.predictor(of, context=7, dtype=torch.float32).to(GPU)
        batch = on(small.batch(64, context=7, dtype=torch.float32), GPU)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        lost(model, batch, Losses(), torch.full((64,), 6, device=GPU)).total.backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
        del model, batch
    assert peaks[1] <= 0.5 * peaks[0]


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("interval", [0, 2])
def test_a_forward_pass_waits_for_no_number(interval: int, bfloat16: bool) -> None:
    model, batch = model_of(interval).to(GPU), on(small.batch(dtype=torch.float32), GPU)
    tau = TAU.to(GPU)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bfloat16):
        lost(model, batch, LOSSES, tau)
        with no_waiting():
            lost(model, batch, LOSSES, tau)


def test_a_graphed_run_takes_the_steps_of_a_plain_one() -> None:
    """And leaves the parameters that it leaves, up to rounding, over the end of an epoch."""
    chosen = [
        small.trainer(device="cuda", compute={"cuda_graphs": graphs}, model={"drop_path": 0.1})
        for graphs in (True, False)
    ]
    runs = [build(settings, small.Clips(), device=GPU) for settings in chosen]
    for _ in range(8):
        graphed, plain = (run.advance() for run in runs)
        assert graphed["loss/total"] == pytest.approx(plain["loss/total"], rel=1e-4)
        assert graphed["train/grad_norm"] == pytest.approx(plain["train/grad_norm"], rel=1e-3)
