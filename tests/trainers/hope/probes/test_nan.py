"""Laws of the probe nan: it finds the tensor, names the cause, and its numbers are those of the metrics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.trainers.hope.probes.conftest import DOCUMENTED
from trainers.hope.probes import nan
from trainers.hope.probes.nan import Options


def memories(interval: int) -> dict[str, Any]:
    model = {**DOCUMENTED["model"], "memories": {"detach_interval": interval}}
    return {"model": model}


@pytest.mark.parametrize("interval", [2, 4])
def test_the_documents_start_is_traced_to_zero_conditioning_tokens(interval, probed, said):
    _, opened = probed(**memories(interval))
    *blocks, whole = nan.probe(opened, Options(), None, said.append)
    bad = [row for row in blocks if row.bad]
    assert bad
    assert whole.bad >= sum(row.bad for row in bad)
    assert whole.first is not None
    assert whole.first.startswith("block ")
    assert "gradient of" in whole.first
    assert "state tokens are exactly zero" in whole.finding
    assert "by 316" in whole.finding
    assert {row.worst for row in bad} <= {"action", "state"}


def test_the_first_tensor_is_in_the_block_nearest_to_the_loss_of_those_that_are_lost(probed, said):
    _, opened = probed(**memories(2))
    *blocks, whole = nan.probe(opened, Options(), None, said.append)
    highest = max(row.block for row in blocks if row.first)
    assert whole.first == blocks[highest].first


@pytest.mark.parametrize("interval", [0, 1, 2, 4])
def test_nonzero_conditioning_tokens_leave_every_number_finite(interval, probed, said):
    given = {**memories(interval)["model"], "conditioning_bias_std": 0.02}
    _, opened = probed(model=given)
    *blocks, whole = nan.probe(opened, Options(), None, said.append)
    assert (whole.bad, whole.first) == (0, None)
    assert whole.finding.startswith("all finite; largest finite ratio")
    assert whole.ratio == max(row.ratio for row in blocks if row.ratio is not None)
    assert "zero" not in whole.finding


def test_another_interval_is_tried_on_the_same_parameters(probed, said):
    _, opened = probed(**memories(1))
    assert nan.probe(opened, Options(), None, said.append)[-1].bad == 0
    assert nan.probe(opened, Options(interval=2), None, said.append)[-1].bad > 0


@pytest.mark.parametrize("more", [{}, memories(1), memories(2)], ids=["ours", "1", "2"])
def test_ratio_and_count_are_those_of_the_evidence(more, probed, said):
    trainer, opened = probed(**more)
    there = trainer.evidence().metrics
    whole = nan.probe(opened, Options(), None, said.append)[-1]
    assert whole.bad == there["grad/non_finite"]
    assert whole.ratio == pytest.approx(there["grad/block_ratio"], rel=1e-6, nan_ok=True)


def test_a_layer_norm_of_zeros_multiplies_by_one_over_the_root_of_eps(probed, said):
    _, opened = probed(**memories(1))
    first = nan.probe(opened, Options(), None, said.append)[0]
    assert first.least_var == 0.0
    assert first.ln_gain == pytest.approx(1 / math.sqrt(1e-5))
    assert first.least_kind in ("action", "state")


def test_a_parameter_that_spoils_the_forward_pass_is_named_there(probed, said):
    _, opened = probed()
    with torch.no_grad():
        opened.model.blocks[1].titan.W_q.weight[0, 0] = float("inf")
    whole = nan.probe(opened, Options(), None, said.append)[-1]
    assert whole.first == "block 1: activation of blocks.1.titan.W_q"


def test_a_probe_leaves_no_gradient_and_no_hook(probed, said):
    _, opened = probed()
    nan.probe(opened, Options(), None, said.append)
    assert all(p.grad is None for p in opened.model.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in opened.model.modules())


def test_a_negative_interval_is_refused():
    with pytest.raises(ValueError, match="interval is -1"):
        Options(interval=-1)
