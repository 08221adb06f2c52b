"""Does a snapshot fit a trainer? What every trainer asks before it takes anything over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from specs.files import BadCheckpoint
from trainers.protocol import Snapshot


def check_identity(snapshot: Snapshot, expected: Mapping[str, Any]) -> None:
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


def check_entries(snapshot: Snapshot, names: frozenset[str]) -> None:
    """Raise BadCheckpoint naming every entry of the state that is missing or unknown here."""
    missing, strange = names - snapshot.scalars.keys(), snapshot.scalars.keys() - names
    said = [
        f"{what}: {', '.join(sorted(entries))}"
        for what, entries in (("lacks", missing), ("has the unknown", strange))
        if entries
    ]
    if said:
        raise BadCheckpoint(f"the checkpoint's state {'; '.join(said)}")


def check_tensor(name: str, value: Tensor, shape: torch.Size) -> None:
    """Raise BadCheckpoint unless ``value`` has this shape and is finite."""
    if value.shape != shape:
        raise BadCheckpoint(
            f"{name} has shape {tuple(value.shape)} in the checkpoint, {tuple(shape)} in this run"
        )
    if not bool(value.isfinite().all()):
        raise BadCheckpoint(f"{name} of the checkpoint holds values that are not finite")


def tensors_of(
    snapshot: Snapshot, stem: str, shapes: Mapping[str, torch.Size]
) -> Mapping[str, Tensor]:
    """The tensors of ``stem``, proved to be exactly those named, of those shapes, and finite."""
    source = snapshot.tensors.get(stem)
    if source is None:
        raise BadCheckpoint(f"the checkpoint has no {stem} tensors")
    if source.keys() != shapes.keys():
        odd = ", ".join(sorted(source.keys() ^ shapes.keys()))
        raise BadCheckpoint(
            f"the {stem} tensors of the checkpoint differ from this run's in: {odd}"
        )
    for name, shape in shapes.items():
        check_tensor(f"{stem}/{name}", source[name], shape)
    return source
