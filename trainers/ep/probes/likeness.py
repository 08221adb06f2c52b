"""How alike two gradients are, over all parameters and group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.block import Params
from trainers.ep.estimators.implicit import Gradient

GROUPS: Mapping[str, tuple[str, ...]] = {
    "QKVO": ("W_Q", "W_K", "W_V", "W_O"),
    "FFN": ("W_1", "b_1", "W_2", "b_2"),
    "LN": ("ln1_gain", "ln1_bias", "ln2_gain", "ln2_bias"),
    "E": ("E",),
    "pos": ("pos",),
}
"""All parameters of the force; the head's gradient is direct and the same for every estimator."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Of two gradients. ``error``: the norm of the difference over that of the reference."""

    cosine: float
    error: float


def likeness(gradient: Sequence[Tensor], reference: Sequence[Tensor]) -> Likeness:
    """Over all tensors together."""
    a, b = (torch.cat([t.flatten() for t in ts]) for ts in (gradient, reference))
    size = torch.linalg.vector_norm(b)
    cosine = a @ b / (torch.linalg.vector_norm(a) * size)
    return Likeness(cosine=float(cosine), error=float(torch.linalg.vector_norm(a - b) / size))


def by_group(gradient: Gradient, reference: Gradient) -> Mapping[str, Likeness]:
    names = Params._fields[: len(reference)]
    a, b = dict(zip(names, gradient, strict=True)), dict(zip(names, reference, strict=True))
    return {
        group: likeness([a[name] for name in members], [b[name] for name in members])
        for group, members in GROUPS.items()
    }
