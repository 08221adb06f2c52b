"""Parameter groups: every trainable tensor is in exactly one.

titan        the memories (with their layer norms)
cms          the continuum memory systems
attention    attention, and the MLPs beside it
projections  all else: embeddings, queries and outputs of memories, mixing, layer norms of blocks
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from torch import nn

from specs.trainer_hope import HopeOptimizer


class Group(StrEnum):
    TITAN = "titan"
    CMS = "cms"
    ATTENTION = "attention"
    PROJECTIONS = "projections"


_BY_PART = {
    "memories": Group.TITAN,
    "cms": Group.CMS,
    "attention": Group.ATTENTION,
    "mlp": Group.ATTENTION,
}


def group_of(name: str) -> Group:
    """The group of a parameter of the predictor, by its dotted name."""
    for part in name.split("."):
        if part in _BY_PART:
            return _BY_PART[part]
    return Group.PROJECTIONS


def grouped(model: nn.Module) -> dict[Group, list[tuple[str, nn.Parameter]]]:
    """Name and tensor of every parameter, by group."""
    found: dict[Group, list[tuple[str, nn.Parameter]]] = {group: [] for group in Group}
    for name, parameter in model.named_parameters():
        found[group_of(name)].append((name, parameter))
    return found


def rate_scale(group: Group, settings: HopeOptimizer) -> float:
    """The group's peak rate over ``lr``."""
    return {
        Group.TITAN: settings.titan_scale,
        Group.CMS: settings.cms_scale,
        Group.ATTENTION: settings.attention_scale,
        Group.PROJECTIONS: 1.0,
    }[group]


def decay_of(group: Group, settings: HopeOptimizer) -> float:
    return settings.titan_weight_decay if group is Group.TITAN else settings.weight_decay


def sizes(model: nn.Module) -> dict[str, int]:
    """Parameters of each group and in total."""
    counts = {group.value: sum(p.numel() for _, p in of) for group, of in grouped(model).items()}
    return {**counts, "total": sum(counts.values())}


def level_of(name: str) -> int | None:
    """The level of the continuum memory system that a parameter belongs to."""
    parts: Iterator[str] = iter(name.split("."))
    for part in parts:
        if part == "levels":
            return int(next(parts))
    return None
