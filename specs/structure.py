"""Which settings of a trainer decide what its checkpoints hold, so that no attempt may change them.

A trainer refuses a checkpoint of another structure when it restores it. The same fields are refused
here, where the change is written. A new trainer kind needs its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True, kw_only=True)
class Structure:
    """``shape``: fields that a checkpoint holds as they are, beside ``kind``. ``decides``: fields that it
    does not hold, with what they decide of it. A field within another is a dotted path.
    """

    shape: tuple[str, ...] = ()
    decides: Mapping[str, str] = field(default_factory=dict)

    @property
    def fixed(self) -> tuple[str, ...]:
        """All that must stay while a run goes on from its checkpoints."""
        return ("kind", *self.shape, *self.decides)

    def fixing(self, path: Sequence[str]) -> str | None:
        """The first of these fields that is the one at ``path``, holds it, or lies within it."""
        for name in self.fixed:
            if all(a == b for a, b in zip(name.split("."), path, strict=False)):
                return name
        return None


STRUCTURES: Mapping[str, Structure] = {
    "ep": Structure(
        shape=("width", "heads", "ffn_factor", "context"),
        decides={"data": "the vocabulary and the tokenizer"},
    ),
    "hope": Structure(
        shape=(
            "model.pattern",
            "model.width",
            "model.heads",
            "model.mlp_ratio",
            "model.rope",
            "model.memories.mult",
            "model.cms.mults",
            "model.spatial_mixing",
            "model.temporal_embeddings",
            "context",
            "data.grid",
            "data.feature_width",
        ),
        decides={
            "data": "the clips",
            "continual": "the phases",
            "batch": "the steps of a phase",
            "accumulate": "likewise",
            "optimizer.kind": "what is remembered of gradients",
            "optimizer.m3_form": "likewise",
            "model.cms.update_every": "which gradients are held back",
        },
    ),
    "command": Structure(),
}
"""Trainer kind -> its structure. A user's program decides itself what it can resume from."""


def shape_of(trainer: BaseModel) -> dict[str, Any]:
    """``kind`` and the fields of its shape, with their values."""
    kind: str = getattr(trainer, "kind")  # noqa: B009 - declared by every trainer, not by the base
    fields = ("kind", *STRUCTURES[kind].shape)
    return {name: attrgetter(name)(trainer) for name in fields}


def differing(source: BaseModel, trainer: BaseModel) -> list[tuple[str, Any, Any]]:
    """(field, value of the source, own value) where ``trainer`` cannot start from the other's checkpoint.

    A user's program may start from whatever it understands.
    """
    here, there = shape_of(trainer), shape_of(source)
    if here["kind"] == "command":
        return []
    if here["kind"] != there["kind"]:
        return [("kind", there["kind"], here["kind"])]
    return [(name, there[name], value) for name, value in here.items() if there[name] != value]
