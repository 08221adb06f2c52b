"""Small predictors and clips for the tests of HOPE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from specs.trainer_hope import HopeModel, HopeTrainer
from trainers.hope.continual.protocol import tasks_of
from trainers.hope.init import initialise
from trainers.hope.losses import Batch
from trainers.hope.model import Predictor
from trainers.hope.trainer import HopeTraining, build

GRID = (2, 3)
FEATURES = 10
CONTEXT = 4


def settings(**more: Any) -> HopeModel:
    given = {
        "pattern": "HH",
        "width": 12,
        "heads": 2,
        "drop_path": 0.0,
        "conditioning_bias_std": 0.02,
    }
    return HopeModel.model_validate(given | more)


def predictor(
    of: HopeModel, *, context: int = CONTEXT, dtype: torch.dtype = torch.float64
) -> Predictor:
    model = Predictor(of, grid=GRID, feature_width=FEATURES, context=context)
    initialise(model, of, torch.Generator().manual_seed(1))
    return model.to(dtype)


def batch(
    samples: int = 2, *, context: int = CONTEXT, dtype: torch.dtype = torch.float64, seed: int = 2
) -> Batch:
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=source, dtype=dtype)

    patches = GRID[0] * GRID[1]
    actions = torch.zeros(samples, context, 2, dtype=dtype)
    actions[:, 0] = normal(samples, 2)
    return Batch(
        features=3.2 * normal(samples, context + 1, patches, FEATURES),
        actions=actions,
        states=torch.zeros(samples, context, 2, dtype=dtype),
    )


def trained(model: Predictor, scale: float = 0.3) -> Predictor:
    """The same model with parameters far from their start, so that nothing is small by initialisation."""
    source = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=source).to(parameter))
    return model


class Clips:
    """A source of clips like `trainers.data.clips`: of task i the next frame is the last one, turned by i + 1.

    Actions matter: the impulse is added to every frame after the first.
    """

    def __init__(
        self,
        tasks: tuple[str, ...] = ("base",),
        *,
        clips: int = 24,
        held_out: int = 4,
        frames: int = CONTEXT + 1,
    ) -> None:
        self.tasks = tasks
        self.sha256 = f"toy {tasks} {clips} {held_out} {frames}"
        self._held_out = held_out
        self._all = {task: _toy(number, clips, frames) for number, task in enumerate(tasks)}

    def batch(self, task: str, indices: Sequence[int]) -> Batch:
        whole, chosen = self._all[task], list(indices)
        return Batch(
            features=whole.features[chosen],
            actions=whole.actions[chosen],
            states=whole.states[chosen],
        )

    def train(self, task: str) -> range:
        return range(2, len(self._all[task].features) - self._held_out)

    def validation(self, task: str) -> range:
        return range(2)

    def held_out(self, task: str, count: int) -> range:
        clips = len(self._all[task].features)
        return range(clips - count, clips)

    def describe(self) -> dict[str, Any]:
        return {"clips": "toy", "tasks": list(self.tasks)}


def _toy(number: int, clips: int, frames: int) -> Batch:
    source = torch.Generator().manual_seed(100 + number)
    patches = GRID[0] * GRID[1]
    first = torch.randn(clips, patches, FEATURES, generator=source)
    impulse = torch.randn(clips, 2, generator=source)
    actions = torch.zeros(clips, frames - 1, 2)
    actions[:, 0] = impulse
    moved = torch.zeros(clips, patches, FEATURES)
    moved[..., :2] = impulse[:, None]
    seen = [first.roll((number + 1) * t, dims=-1) + t * moved for t in range(frames)]
    return Batch(
        features=torch.stack(seen, dim=1), actions=actions, states=torch.zeros_like(actions)
    )


def trainer(**more: Any) -> HopeTrainer:
    """Settings of the smallest whole trainer; maps are merged."""
    given: dict[str, Any] = {
        "kind": "hope",
        "model": settings().model_dump(mode="json"),
        "data": {
            "kind": "clips",
            "path": "toy",
            "grid": list(GRID),
            "feature_width": FEATURES,
            "frames": CONTEXT + 1,
        },
        "losses": {"jump_last": 2, "rollout_frames": CONTEXT},
        "optimizer": {"lr": 1e-2, "start_lr": 1e-3},
        "context": CONTEXT,
        "batch": 4,
        "log_every": 1,
    }
    if "continual" not in more:
        given["steps"] = 8
    return HopeTrainer.model_validate_json(json.dumps(merged(given, more)))


def merged(given: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {
        **given,
        **{
            name: merged(given[name], value)
            if isinstance(value, dict) and isinstance(given.get(name), dict)
            else value
            for name, value in more.items()
        },
    }


def training(source: Clips | None = None, **more: Any) -> HopeTraining:
    chosen = trainer(**more)
    return build(chosen, source or Clips(tasks_of(chosen)), device=torch.device("cpu"))
