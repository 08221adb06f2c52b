"""Which tensor is it? Names what is not finite, once it is known that something is not."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def culprits(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """``W_Q holds 3 NaN, the first at [0, 4]`` for every tensor with values that are not finite."""
    return [said for name, t in named if (said := _fault(name, t)) is not None]


def blame(named: Iterable[tuple[str, Tensor]]) -> str:
    """The culprits as the end of a sentence; says so where every tensor named is finite."""
    found = culprits(named)
    return "; ".join(found) if found else "every tensor looked at is finite: it overflowed in a sum"


def first_bad(values: dict[str, float]) -> str | None:
    """The name of the first value that is no finite number."""
    return next((name for name, value in values.items() if not math.isfinite(value)), None)


def _fault(name: str, t: Tensor) -> str | None:
    bad = ~t.detach().isfinite()
    count = int(bad.sum())
    if not count:
        return None
    kind = "NaN" if bool(t.isnan().any()) else "infinite values"
    at = [int(i) for i in torch.unravel_index(bad.flatten().int().argmax(), t.shape)]
    return f"{name} holds {count} {kind} of {t.numel()}, the first at {at}"
