"""The EP trainer's state as named tensors and JSON, and the check that it fits a trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from specs.files import BadCheckpoint
from specs.trainer_ep import EpTrainer
from trainers.ep.block import Params
from trainers.protocol import Snapshot

MODEL, EMA, OPTIMIZER = "model", "ema", "optimizer"
MOMENTS = ("exp_avg", "exp_avg_sq")


def identity(settings: EpTrainer, vocabulary: int, tokenizer_hash: str) -> dict[str, Any]:
    """What must be equal for parameters to mean the same in another run."""
    return {
        "kind": settings.kind,
        "width": settings.width,
        "heads": settings.heads,
        "ffn_factor": settings.ffn_factor,
        "context": settings.context,
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


def check(snapshot: Snapshot, expected: Mapping[str, Any]) -> None:
    """Raise BadCheckpoint naming every fact in which the snapshot differs from this trainer."""
    found = snapshot.scalars.get("identity")
    if not isinstance(found, Mapping):
        raise BadCheckpoint("the checkpoint does not say which model it holds (no `identity`)")
    wrong = [
        f"{key}: the checkpoint has {found.get(key)!r}, this run has {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    ]
    if wrong:
        raise BadCheckpoint("the checkpoint does not fit this run: " + "; ".join(wrong))


def take(snapshot: Snapshot, stem: str, into: Params) -> None:
    """Copy the tensors of ``stem`` into ``into`` in place. Raises BadCheckpoint where one is missing or misshapen."""
    source = tensors_of(snapshot, stem, {name: t.shape for name, t in into._asdict().items()})
    with torch.no_grad():
        for name, target in into._asdict().items():
            target.copy_(source[name])


def tensors_of(
    snapshot: Snapshot, stem: str, shapes: Mapping[str, torch.Size]
) -> Mapping[str, Tensor]:
    """The tensors of ``stem``, proved to be exactly those named, of those shapes."""
    source = snapshot.tensors.get(stem)
    if source is None:
        raise BadCheckpoint(f"the checkpoint has no {stem} tensors")
    if source.keys() != shapes.keys():
        odd = ", ".join(sorted(source.keys() ^ shapes.keys()))
        raise BadCheckpoint(
            f"the {stem} tensors of the checkpoint differ from this run's in: {odd}"
        )
    for name, shape in shapes.items():
        if source[name].shape != shape:
            raise BadCheckpoint(
                f"{stem}/{name} has shape {tuple(source[name].shape)} in the checkpoint, "
                f"{tuple(shape)} in this run"
            )
    return source
