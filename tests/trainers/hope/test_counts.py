"""Parameters and tensors of the documented models, exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from specs.trainer_hope import HopeModel, Losses
from tests.trainers.hope import small
from trainers.hope.groups import Group, grouped, sizes
from trainers.hope.losses import lost
from trainers.hope.model import Predictor

CMS = {"mults": [2.0, 2.5, 3.0], "periods": [1, 3, 7]}
LATE = {"memories": {"mult": 4}, "cms": CMS}
BOTH = {"spatial_mixing": True, "temporal_embeddings": True}


def on_meta(**fields: Any) -> Predictor:
    with torch.device("meta"):
        return Predictor(
            HopeModel.model_validate(fields), grid=(16, 16), feature_width=1024, context=7
        )


@pytest.mark.parametrize(
    ("fields", "total"),
    [
        pytest.param({}, 41_572_480, id="D0 and phases 1 and 2"),
        pytest.param({"pattern": "HHHHH", **LATE}, 42_877_120, id="phase 4"),
        pytest.param({"pattern": "HHHHH", **LATE, **BOTH}, 43_553_512, id="phase 5"),
        pytest.param({"pattern": "T" * 24}, 43_378_816, id="ViT"),
        pytest.param({"pattern": "THTHT", **LATE, **BOTH}, 23_223_952, id="hybrid of five"),
        pytest.param({"pattern": "TTTTHHH", **LATE, **BOTH}, 33_549_400, id="hybrid of seven"),
        pytest.param({"pattern": "TTTTTHHHH", **LATE, **BOTH}, 43_874_848, id="hybrid, matched"),
        pytest.param(
            {"pattern": "TTTTHHH", "memories": {"mult": 6}, "cms": CMS, **BOTH},
            42_396_760,
            id="hybrid of seven, mult 6",
        ),
        pytest.param(
            {"pattern": "HHHHHHHH", **LATE, "cms": {"mults": [4, 4, 4], "periods": [1, 4, 16]}},
            78_759_040,
            id="phase 3 as its file has it",
        ),
        pytest.param(
            {"pattern": "U" * 12, "cms": CMS, "temporal_embeddings": True},
            48_719_488,
            id="twelve U blocks, documented as 48.72 M",
        ),
    ],
)
def test_a_documented_model_has_its_parameters(fields: dict[str, Any], total: int) -> None:
    assert sum(p.numel() for p in on_meta(**fields).parameters()) == total


def test_the_groups_of_the_first_model_have_their_sizes() -> None:
    assert sizes(on_meta()) == {
        "titan": 17_717_760,
        "cms": 21_282_048,
        "attention": 0,
        "projections": 2_572_672,
        "total": 41_572_480,
    }


def test_mixing_and_embeddings_have_their_sizes() -> None:
    def count(**fields: Any) -> int:
        return sum(p.numel() for p in on_meta(pattern="H", **fields).parameters())

    layer_norm = 2 * 384
    assert count(spatial_mixing=True) - count() == 133_128 + layer_norm
    assert count(temporal_embeddings=True) - count() == 6_912


def test_tensors_are_as_many_as_documented() -> None:
    assert len(list(on_meta().parameters())) == 282
    one_level = {"mults": [4.0], "periods": [1]}
    assert len(list(on_meta(pattern="HH", cms=one_level).parameters())) == 78


@pytest.mark.parametrize(
    ("interval", "auxiliary", "with_gradient"),
    [(1, 0.0, 184), (4, 0.0, 232), (4, 0.1, 280), (1, 0.1, 232)],
)
def test_a_teacher_pass_reaches_as_many_tensors_as_documented(
    interval: int, auxiliary: float, with_gradient: int
) -> None:
    """The four of action and state encoder are counted there, though no loss depends on them at interval 1."""
    of = small.settings(pattern="HHHHHH", memories={"detach_interval": interval})
    model = small.predictor(of)
    weights = Losses(jump=0.0, auxiliary=auxiliary)
    lost(model, small.batch(), weights, torch.tensor([4, 4])).total.backward()
    reached = [
        name
        for name, p in model.named_parameters()
        if "encoder" not in name and p.grad is not None and p.grad.any()
    ]
    assert len(reached) + 4 == with_gradient


@pytest.mark.parametrize("pattern", ["HH", "TT", "UU", "THU"])
def test_every_tensor_is_in_exactly_one_group(pattern: str) -> None:
    model = small.predictor(small.settings(pattern=pattern, spatial_mixing=True))
    names = [name for of in grouped(model).values() for name, _ in of]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert len(names) == len(set(names))
    assert set(grouped(model)) == set(Group)
