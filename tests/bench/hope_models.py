"""The models that the benchmarks of HOPE compare, the ways in which a step is computed, and a batch for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from specs.trainer_hope import HopeTrainer
from trainers.hope.draws import Draws, draws_of
from trainers.hope.init import initialise
from trainers.hope.losses import Batch
from trainers.hope.model import Predictor

ROUNDS = 10
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
THREE: Fields = {"compute": {"cuda_graphs": True, "products": "3xtf32"}}
COMPILED: Fields = {"compute": {"cuda_graphs": True, "compile": True}}
WAYS: Mapping[str, Fields] = {
    "fp32, eager": FLOAT32,
    "bf16, eager": BFLOAT16,
    "fp32, CUDA graph": GRAPHS,
    "3xTF32, CUDA graph": THREE,
    "bf16, CUDA graph": {**BFLOAT16, **GRAPHS},
    "fp32, compiled, CUDA graph": COMPILED,
    "bf16, compiled, CUDA graph": {**BFLOAT16, **COMPILED},
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The size of everything; by default that of the documented runs."""

    samples: int = 16
    model: Fields = field(default_factory=dict)
    data: Fields = field(default_factory=dict)
    depth: int | None = None  # blocks kept of a pattern
    rounds: int = ROUNDS
    clips: int = 256
    shrunk: int = 1  # what the sizes of single products are divided by
    ways: Sequence[str] = tuple(WAYS)


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
