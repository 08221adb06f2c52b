"""Laws of who moves which tensor, at which rate."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from specs.trainer_hope import ContinuumMemory, HopeOptimizer
from tests.trainers.hope import small
from trainers.hope.groups import Group, group_of, level_of
from trainers.hope.model import Predictor
from trainers.hope.optim.levels import HeldLevels
from trainers.hope.optim.m3 import M3
from trainers.hope.optim.optimisers import optimisers
from trainers.hope.schedule import factor

EVERYTHING = {"pattern": "THU", "spatial_mixing": True, "temporal_embeddings": True}


def model(**fields: object) -> Predictor:
    return small.predictor(small.settings(**(fields or EVERYTHING)))


@pytest.mark.parametrize("kind", ["adamw", "m3", "muon"])
def test_every_tensor_is_moved_by_exactly_one_optimiser(kind: str) -> None:
    of = model()
    found = optimisers(of, HopeOptimizer(kind=kind))
    taken = Counter(id(p) for part in found.parts for g in part.param_groups for p in g["params"])
    assert taken == Counter(id(p) for p in of.parameters())


def orthogonalised(kind: str) -> set[str]:
    of = model()
    found = optimisers(of, HopeOptimizer(kind=kind))
    parts = [p for p in found.parts if isinstance(p, M3 | torch.optim.Muon)]
    return {found.names[p] for part in parts for g in part.param_groups for p in g["params"]}


def matrices() -> set[str]:
    of = model()
    tables = {n for n, m in of.named_modules() if isinstance(m, nn.Embedding)}
    return {n for n, p in of.named_parameters() if p.ndim == 2 and n.split(".")[0] not in tables}


def test_muon_takes_the_matrices_outside_of_the_memories() -> None:
    assert orthogonalised("muon") == {n for n in matrices() if group_of(n) is not Group.TITAN}


def test_m3_takes_all_matrices_and_no_embedding() -> None:
    assert orthogonalised("m3") == matrices()
    assert "frame_embedding.weight" not in matrices()


def test_the_rate_of_a_group_is_its_scale_times_the_rate_all_along_the_schedule() -> None:
    """So the ratio of the first rate to the peak is the same for every group."""
    settings = HopeOptimizer(titan_scale=0.3, cms_scale=0.6, attention_scale=2.0)
    found = optimisers(model(), settings)
    scales = {"titan": 0.3, "cms": 0.6, "attention": 2.0, "projections": 1.0}
    for step in (0, 50, 99):
        lr = settings.lr * factor(step, 100, settings)
        found.step(lr)
        rates = {g["group"].value: g["lr"] for g in found.parts[0].param_groups}
        assert rates == pytest.approx({name: lr * scale for name, scale in scales.items()})


def test_memories_have_a_decay_of_their_own() -> None:
    found = optimisers(model(), HopeOptimizer(weight_decay=0.04, titan_weight_decay=0.005))
    decays = {g["group"]: g["weight_decay"] for g in found.parts[0].param_groups}
    assert decays.pop(Group.TITAN) == 0.005
    assert set(decays.values()) == {0.04}


# ---------------------------------------------------------------- slow levels


def stepped(every: tuple[int, ...], steps: int) -> list[dict[int | None, bool]]:
    """Which levels moved in each step."""
    of = model(cms={"mults": [1.0, 1.0], "periods": [1, 1], "update_every": list(every)})
    held = HeldLevels(of, of.settings.cms)
    moved = []
    for step in range(steps):
        for p in of.parameters():
            p.grad = torch.ones_like(p)
        held.gate(step, last=step + 1 == steps)
        moved.append({level_of(n): p.grad is not None for n, p in of.named_parameters()})
    return moved


def test_a_level_is_updated_every_kth_step_and_all_else_in_every_step() -> None:
    found = stepped((1, 3), 7)
    assert all(step[None] and step[0] for step in found)
    assert [step[1] for step in found] == [False, False, True, False, False, True, True]


def test_the_last_step_of_a_phase_applies_what_is_held() -> None:
    assert [step[1] for step in stepped((1, 5), 3)] == [False, False, True]


def test_what_is_applied_is_the_sum_of_what_was_held() -> None:
    of = model(cms={"mults": [1.0], "periods": [1], "update_every": [3]})
    held = HeldLevels(of, of.settings.cms)
    slow = of.blocks[0].cms.levels[0].fc1.weight
    for step, value in enumerate((1.0, 10.0, 100.0)):
        slow.grad = torch.full_like(slow, value)
        held.gate(step, last=False)
    assert slow.grad is not None
    assert torch.equal(slow.grad, torch.full_like(slow, 111.0))
    assert not held.held


def test_what_is_held_is_not_what_a_later_gradient_is_written_over() -> None:
    """A CUDA graph leaves every gradient at one place."""
    of = model(cms={"mults": [1.0], "periods": [1], "update_every": [2]})
    levels = HeldLevels(of, of.settings.cms)
    slow = dict(of.named_parameters())[next(iter(sorted(levels.names())))]
    place = torch.ones_like(slow)
    slow.grad = place
    levels.gate(0, last=False)
    place.fill_(10.0)
    slow.grad = place
    levels.gate(1, last=False)
    assert torch.equal(slow.grad, torch.full_like(slow, 11.0))


def test_a_level_of_every_step_is_never_held() -> None:
    of = model(cms={"mults": [1.0], "periods": [1]})
    assert not HeldLevels(of, ContinuumMemory(mults=(1.0,), periods=(1,))).names()
