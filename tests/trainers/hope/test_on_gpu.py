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


@pytest.mark.parametrize(
    "interval", [1, 2]
)  # cut everywhere, and in places: each compiles for minutes
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
    """Up to rounding: the backward pass of attention adds up in no fixed order."""
    kept = gradients(model_of(interval), GPU)
    again = gradients(model_of(interval, checkpoint_blocks=True), GPU)
    assert_close(again, kept, 1e-5)


def peak(*, checkpoint: bool) -> int:
    """Bytes of a step beyond parameters and clips, with the libraries' workspaces there already."""
    of = small.settings(
        pattern="HHHHHH", memories={"detach_interval": 0}, checkpoint_blocks=checkpoint
    )
    model = small.predictor(of, context=7, dtype=torch.float32).to(GPU)
    batch, tau = on(small.batch(64, context=7, dtype=torch.float32), GPU), torch.full((64,), 6)
    for _ in range(2):
        model.zero_grad(set_to_none=True)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        lost(model, batch, Losses(), tau.to(GPU)).total.backward()
    return torch.cuda.max_memory_allocated() - before


def test_recomputing_blocks_needs_less_than_half_the_memory() -> None:
    assert peak(checkpoint=True) <= 0.5 * peak(checkpoint=False)


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


@pytest.mark.parametrize(
    "fields",
    [
        {"model": {"drop_path": 0.1}},
        {"model": {"memories": {"scope": "per_sample"}, "pattern": "HT"}},
        {"model": {"checkpoint_blocks": True}},
        {"model": {"cms": {"mults": [1.0, 1.5], "periods": [1, 1], "update_every": [1, 3]}}},
        {"losses": {"isolate_state": False}, "accumulate": 2},
    ],
    ids=["drop path", "per sample", "recomputed blocks", "slow levels", "shared state"],
)
def test_a_graphed_run_takes_the_steps_of_a_plain_one(fields: dict[str, Any]) -> None:
    """And leaves the parameters that it leaves, up to rounding, over the end of an epoch."""
    chosen = [
        small.trainer(device="cuda", compute={"cuda_graphs": graphs}, **fields)
        for graphs in (True, False)
    ]
    runs = [build(settings, small.Clips(), device=GPU) for settings in chosen]
    for _ in range(8):
        graphed, plain = (run.advance() for run in runs)
        assert graphed["loss/total"] == pytest.approx(plain["loss/total"], rel=1e-4)
        assert graphed["train/grad_norm"] == pytest.approx(plain["train/grad_norm"], rel=1e-3)


def test_a_graphed_run_in_bfloat16_learns() -> None:
    """As a plain one does: products of three digits, summed in another order, tell them apart."""
    more = {"precision": "bfloat16", "steps": 24}
    last = []
    for graphs in (True, False):
        settings = small.trainer(device="cuda", compute={"cuda_graphs": graphs}, **more)
        run = build(settings, small.Clips(), device=GPU)
        losses = [run.advance()["loss/total"] for _ in range(24)]
        assert losses[-1] < losses[0]
        assert run.evidence().finite
        last.append(losses[-1])
    assert last[0] == pytest.approx(last[1], rel=0.05)
