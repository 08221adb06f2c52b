"""What a training step of HOPE draws, each from (seed, step, purpose, number of the batch in its step)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from specs.trainer_hope import HopeTrainer
from trainers.draws import generator
from trainers.hope.blocks import BRANCHES
from trainers.hope.losses import Drops, draw_tau


class Purpose(StrEnum):
    INIT = "init"
    ORDER = "order"  # of the clips in an epoch
    TAU = "tau"  # targets of jumps
    DROP = "drop"  # branches that are left out
    KEEP = "keep"  # which clips of a task the replay buffer takes
    REPLAY = "replay"  # which of them a batch gets


@dataclass(frozen=True, kw_only=True)
class Draws:
    """``tau`` (B,) long; ``drops`` of the three passes."""

    tau: torch.Tensor
    drops: Drops


def draws_of(
    settings: HopeTrainer, samples: int, step: int, number: int, device: torch.device
) -> Draws:
    """Of batch ``number`` of a training step; drawn on the CPU, so that they are the same on every device."""
    source = generator(settings.seed, step, Purpose.TAU, index=number)
    last = (
        settings.losses.jump_last if settings.losses.jump > 0 else 1
    )  # nothing jumps: any frame will do
    tau = draw_tau(samples, settings.context, last, source)
    return Draws(
        tau=tau.to(device, non_blocking=True), drops=_drops(settings, samples, step, number, device)
    )


def _drops(
    settings: HopeTrainer, samples: int, step: int, number: int, device: torch.device
) -> Drops:
    if settings.model.drop_path == 0:
        return Drops()
    source = generator(settings.seed, step, Purpose.DROP, index=number)
    shape = (3, len(settings.model.pattern), BRANCHES, samples)
    drawn = torch.rand(shape, generator=source).to(device, non_blocking=True)
    return Drops(teacher=drawn[0], rollout=drawn[1], jump=drawn[2])
