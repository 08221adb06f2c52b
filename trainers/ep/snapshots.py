"""The EP trainer's state as named tensors and JSON, and the check that it fits a trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specs.structure import shape_of
from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params
from trainers.protocol import Snapshot
from trainers.snapshots import check_entries, tensors_of
from trainers.snapshots import check_identity as check

__all__ = [
    "check",
    "check_keys",
    "check_tensors",
    "identity",
    "moments",
    "named",
    "take",
    "take_moments",
    "tensors_of",
]

MODEL, EMA, OPTIMIZER = "model", "ema", "optimizer"
MOMENTS = ("exp_avg", "exp_avg_sq")
SCALARS = frozenset(
    {
        "identity",
        "settings",
        "text_sha256",
        "step",
        "optimizer_step",
        "jr",
        "jr_log_residual",
        "accepted_norm",
        "initial_norms",
    }
)
"""Every entry of a snapshot's ``scalars``."""


def identity(settings: EpTrainer, vocabulary: int, tokenizer_hash: str) -> dict[str, Any]:
    """What must be equal for parameters to mean the same in another run."""
    return {
        **shape_of(settings),
        "vocabulary": vocabulary,
        "tokenizer_hash": tokenizer_hash,
    }


def named(params: Params) -> dict[str, Tensor]:
    """Copies on the CPU under their field names."""
    return {name: value.detach().to("cpu", copy=True) for name, value in params._asdict().items()}


def moments(optimizer: torch.optim.Optimizer, params: Params) -> dict[str, Tensor]:
    """Adam's moments as ``<parameter>.<moment>``; empty before the first step."""
    return {
        f"{name}.{moment}": optimizer.state[value][moment].detach().to("cpu", copy=True)
        for name, value in params._asdict().items()
        if value in optimizer.state
        for moment in MOMENTS
    }


def check_keys(snapshot: Snapshot) -> None:
    """Raise BadCheckpoint naming every entry of the state that is missing or unknown here."""
    check_entries(snapshot, SCALARS)


def check_tensors(snapshot: Snapshot, like: Params) -> None:
    """Raise BadCheckpoint unless parameters, average and, after a first update, moments are whole and finite."""
    shapes = {name: t.shape for name, t in like._asdict().items()}
    tensors_of(snapshot, MODEL, shapes)
    tensors_of(snapshot, EMA, shapes)
    if snapshot.scalars["optimizer_step"]:
        tensors_of(snapshot, OPTIMIZER, _moment_shapes(like))


def _moment_shapes(params: Params) -> dict[str, torch.Size]:
    named = params._asdict().items()
    return {f"{name}.{moment}": t.shape for name, t in named for moment in MOMENTS}


def take(snapshot: Snapshot, stem: str, into: Params) -> None:
    """Copy the tensors of ``stem`` into ``into`` in place. Raises BadCheckpoint where one is missing or misshapen."""
    source = tensors_of(snapshot, stem, {name: t.shape for name, t in into._asdict().items()})
    with torch.no_grad():
        for name, target in into._asdict().items():
            target.copy_(source[name])


def take_moments(
    snapshot: Snapshot, optimizer: torch.optim.Optimizer, params: Params, steps: float
) -> None:
    """Put Adam's moments and its ``steps`` into a fresh ``optimizer``. Raises BadCheckpoint likewise."""
    source = tensors_of(snapshot, OPTIMIZER, _moment_shapes(params))
    for name, tensor in params._asdict().items():
        optimizer.state[tensor] = {
            "step": torch.tensor(steps, device=tensor.device, dtype=torch.float32),
            **{moment: source[f"{name}.{moment}"].to(tensor, copy=True) for moment in MOMENTS},
        }
