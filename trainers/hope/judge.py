"""Errors of a predictor on clips that it did not learn from, with its memories writing or frozen.

A jump is one frame, and memories are read before they are written: with isolated states its error cannot depend on
writes. It does where it begins with what a pass over the whole clip has written (`isolate_state: false`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from specs.trainer_hope import Losses
from trainers.hope.losses import Batch, at, distance, rollout_loss
from trainers.hope.model import REMEMBERING, Predictor, States

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
    found = _errors(model, batch, losses, teacher=losses.teacher > 0)
    if losses.rollout > 0:
        found["rollout"] = rollout_loss(model, batch, losses)
    frozen = _frozen(model, batch, losses, found)
    also = {f"{name}_frozen": frozen[name] for name in ("jump", "last") if name in frozen}
    return {**found, **also}


@torch.no_grad()
def held_out(
    model: Predictor, batch: Batch, losses: Losses, modes: Sequence[str]
) -> dict[str, Errors]:
    """By mode (on, off): ``error``, of the jump, or of the teacher pass where nothing jumps; ``last``, of the teacher
    pass's last frame.
    """
    written = _errors(model, batch, losses, teacher=True)
    frozen = _frozen(model, batch, losses, written) if "off" in modes else {}
    measure = "jump" if losses.jump > 0 else "teacher"
    return {
        mode: {"error": found[measure], "last": found["last"]}
        for mode, found in (("on", written), ("off", frozen))
        if mode in modes
    }


def _frozen(model: Predictor, batch: Batch, losses: Losses, written: Errors) -> Errors:
    """The errors of ``written`` with memories that stay as they began; those that writes cannot change are its own."""
    if not set(model.settings.pattern) & set(REMEMBERING):
        return written
    jump = written.get("jump") if losses.isolate_state else None
    return _errors(model, batch, losses, teacher="teacher" in written, writes=False, jump=jump)


def _errors(
    model: Predictor,
    batch: Batch,
    losses: Losses,
    *,
    teacher: bool,
    writes: bool = True,
    jump: Tensor | None = None,
) -> Errors:
    """``teacher`` and ``last`` where asked for, or where the jump reads what that pass has written; ``jump``, mean of
    its last targets, if it counts: as given, where it is known.
    """
    found: Errors = {}
    states = None
    if teacher or not losses.isolate_state:
        passed = model(batch.inputs(), writes=writes, keep_state=not losses.isolate_state)
        found["teacher"] = distance(model, passed.features, batch.features[:, 1:])
        found["last"] = distance(model, passed.features[:, -1], batch.features[:, -1])
        states = None if losses.isolate_state else passed.states
    if losses.jump > 0:
        found["jump"] = _jump(model, batch, losses, states, writes) if jump is None else jump
    return found


def _jump(
    model: Predictor, batch: Batch, losses: Losses, states: States | None, writes: bool
) -> Tensor:
    first = batch.inputs().first(1)
    errors = []
    for tau in targets(batch, losses):
        predicted = model(first, states, target=tau, writes=writes).features[:, 0]
        errors.append(distance(model, predicted, at(batch.features, tau)))
    return torch.stack(errors).mean()


def targets(batch: Batch, losses: Losses) -> list[Tensor]:
    """The last ``jump_last`` frames, each as the target of every sample: (B,) long."""
    clips, device = len(batch.features), batch.features.device
    first = batch.context + 1 - losses.jump_last
    return [
        torch.full((clips,), tau, device=device, dtype=torch.long)
        for tau in range(first, batch.context + 1)
    ]
