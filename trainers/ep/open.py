"""A checkpoint opened by itself: its own settings rebuild the model, so nobody can measure another one.

What reads a checkpoint to look at it (probes, comparisons) starts here and takes no model settings of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from specs.files import BadCheckpoint
from specs.trainer_ep import EpTrainer
from trainers import checkpoint
from trainers.ep import snapshots
from trainers.ep.block import Params, init
from trainers.protocol import Snapshot


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a checkpoint holds for measuring: the model, its average, and what they were trained with."""

    path: Path
    settings: EpTrainer
    params: Params
    ema: Params
    step: int
    vocabulary: int
    tokenizer_hash: str
    text_hash: str
    identity: Mapping[str, Any]


def open_checkpoint(path: Path, *, device: torch.device | str = "cpu") -> Opened:
    """Read ``step-<n>`` after comparing every byte with its manifest. Tensors keep the type they were saved in.

    Raises BadCheckpoint where a hash fails, the trainer is another, a setting or entry of the state is missing or
    unknown, a tensor is missing, misshapen or not finite.
    """
    loaded = checkpoint.load(path)
    kind = loaded.manifest.get("kind", "ep")
    if kind != "ep":
        raise BadCheckpoint(f"{path} is of a {kind} trainer; this opens those of ep")
    try:
        return _opened(path, loaded.step, loaded.snapshot, torch.device(device))
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path}: {error}") from error


def _opened(path: Path, step: int, snapshot: Snapshot, device: torch.device) -> Opened:
    snapshots.check_keys(snapshot)
    scalars = snapshot.scalars
    settings = read_settings(scalars["settings"])
    if scalars["step"] != step:
        raise BadCheckpoint(f"its trainer stood at step {scalars['step']}, its name says {step}")
    identity: Mapping[str, Any] = dict(scalars["identity"])
    vocabulary, tokenizer_hash = identity.get("vocabulary"), identity.get("tokenizer_hash")
    if not isinstance(vocabulary, int) or not isinstance(tokenizer_hash, str):
        raise BadCheckpoint("its identity lacks vocabulary or tokenizer_hash")
    snapshots.check(snapshot, snapshots.identity(settings, vocabulary, tokenizer_hash))
    return Opened(
        path=path,
        settings=settings,
        params=_params(snapshot, snapshots.MODEL, settings, vocabulary, device),
        ema=_params(snapshot, snapshots.EMA, settings, vocabulary, device),
        step=step,
        vocabulary=vocabulary,
        tokenizer_hash=tokenizer_hash,
        text_hash=scalars["text_sha256"],
        identity=identity,
    )


def read_settings(stored: object) -> EpTrainer:
    """The settings in a checkpoint. Raises BadCheckpoint naming every one that this version does not know."""
    try:
        # strict models take a JSON list for a tuple only from JSON text
        return EpTrainer.model_validate_json(json.dumps(stored))
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'settings'}: {e['msg']}"
            for e in error.errors()
        )
        raise BadCheckpoint(f"its settings are not those of this version: {wrong}") from error


def _params(
    snapshot: Snapshot, stem: str, settings: EpTrainer, vocabulary: int, device: torch.device
) -> Params:
    shapes = {
        name: t.shape for name, t in init(settings, vocabulary, torch.Generator())._asdict().items()
    }
    source = snapshots.tensors_of(snapshot, stem, shapes)
    return Params(**{name: source[name].to(device) for name in shapes})
