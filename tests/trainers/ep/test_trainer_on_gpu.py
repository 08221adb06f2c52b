"""The whole step on a GPU: every penalty, cap, estimate and draw, and what a snapshot keeps of it."""

from __future__ import annotations

import json
import math

import pytest

from trainers.ep.trainer import build
from trainers.protocol import Snapshot

pytestmark = pytest.mark.gpu

WITHOUT_DRAWS = {
    "resreg": 0.2,
    "weight_cap": 1.01,
    "optimizer": {"lr": 2e-2, "warmup": 0, "weight_decay": 0.1},
}
EVERYTHING = {
    **WITHOUT_DRAWS,
    "jacreg": {"weight": 0.1, "floor": 0.01, "max": 1.0, "every": 2},
    "homeostasis": 0.1,
    "hinge": {"ratio": 0.3, "margin": 1.0, "sequences": 1},
    "spectrum": {"estimate_every": 2},
    "fnoise": 0.05,
    "relaxation": {"T1": 20, "t1max": 40, "random_T1": [5, 20]},
}


def test_a_gpu_takes_the_steps_of_a_cpu(settings, text):
    """Up to rounding; random directions differ between kinds of device, so none are drawn here."""
    here, there = (
        build(settings(device=device, **WITHOUT_DRAWS), text()) for device in ("cpu", "cuda")
    )
    for _ in range(4):
        ours, theirs = here.advance(), there.advance()
        assert ours.keys() == theirs.keys()
        for name in ("train/ce", "train/grad_norm", "train/resreg", "train/capped"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-2), name
    assert there.evaluate()["val/ce"] == pytest.approx(here.evaluate()["val/ce"], rel=1e-3)


def test_a_snapshot_of_a_gpu_run_comes_back_as_it_was(settings, text):
    chosen = settings(device="cuda", **EVERYTHING)
    first, second = build(chosen, text()), build(chosen, text())
    for _ in range(4):
        assert all(math.isfinite(v) for v in first.advance().values())
    snapshot = first.snapshot()
    second.restore(
        Snapshot(tensors=snapshot.tensors, scalars=json.loads(json.dumps(snapshot.scalars)))
    )
    again = second.snapshot()
    assert again.scalars == snapshot.scalars
    for stem, tensors in snapshot.tensors.items():
        for name, tensor in tensors.items():
            assert tensor.equal(again.tensors[stem][name]), f"{stem}/{name}"
    assert second.advance()["train/ce"] == pytest.approx(first.advance()["train/ce"], rel=1e-4)
