"""Errors of a predictor on clips that it did not learn from, with its memories writing or frozen.

A jump is one frame, and memories are read before they are written: with isolated states its error cannot depend on
writes. It does where it begins with what a pass over the whole clip has written (`isolate_state: false`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from specs.trainer_hope import Losses
from trainers.hope.losses import Batch, at, distance, rollout_loss
from trainers.hope.model import Predictor

Errors = dict[str, Tensor]
"""Scalars on the device."""


def mean_over(batches: Iterable[Batch], judge: Callable[[Batch], Errors]) -> Errors:
    """Each error over all clips, every clip counting the same."""
    sums: Errors = {}
    clips = 0
    for batch in batches:
        count = len(batch.features)
        for name, value in judge(batch).items():
            sums[name] = sums.get(name, value.new_zeros(())) + count * value
        clips += count
    return {name: value / clips for name, value in sums.items()}


@torch.no_grad()
def validation(model: Predictor, batch: Batch, losses: Losses) -> Errors:
    """The losses without their weights; those of a weight of 0 are left out. ``..._frozen``: nothing is written."""
    found = _errors(model, batch, losses, writes=True)
    if losses.rollout > 0:
        found["rollout"] = rollout_loss(model, batch, losses)
    frozen = _errors(model, batch, losses, writes=False)
    also = {f"{name}_frozen": frozen[name] for name in ("jump", "last") if name in frozen}
    return {**found, **also}


@torch.no_grad()
def held_out(model: Predictor, batch: Batch, losses: Losses, *, writes: bool) -> Errors:
    """``error``: of the jump, or of the teacher pass where nothing jumps; ``last``: of the teacher pass's last frame."""
    found = _errors(model, batch, losses, writes=writes, always=True)
    error = found["jump"] if losses.jump > 0 else found["teacher"]
    return {"error": error, "last": found["last"]}


def _errors(
    model: Predictor, batch: Batch, losses: Losses, *, writes: bool, always: bool = False
) -> Errors:
    """``teacher`` and ``last`` where that loss counts, or ``always``; ``jump``, mean of its last targets, if it counts."""
    found: Errors = {}
    states = None
    if losses.teacher > 0 or always or not losses.isolate_state:
        passed = model(batch.inputs(), writes=writes, keep_state=not losses.isolate_state)
        found["teacher"] = distance(model, passed.features, batch.features[:, 1:])
        found["last"] = distance(model, passed.features[:, -1], batch.features[:, -1])
        states = None if losses.isolate_state else passed.states
    if losses.jump > 0:
        found["jump"] = torch.stack(
            [
                distance(
                    model,
                    model(batch.inputs().first(1), states, target=tau, writes=writes).features[
                        :, 0
                    ],
                    at(batch.features, tau),
                )
                for tau in targets(batch, losses)
            ]
        ).mean()
    return found


def targets(batch: Batch, losses: Losses) -> list[Tensor]:
    """The last ``jump_last`` frames, each as the target of every sample: (B,) long."""
    clips, device = len(batch.features), batch.features.device
    first = batch.context + 1 - losses.jump_last
    return [
        torch.full((clips,), tau, device=device, dtype=torch.long)
        for tau in range(first, batch.context + 1)
    ]
