"""Numbers from the device to the host, as few times as possible: every transfer waits for all work before it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def to_host(scalars: Mapping[str, Tensor | float]) -> dict[str, float]:
    """All of them as Python floats, by one transfer; 0-dimensional tensors of any real type."""
    tensors = {name: v for name, v in scalars.items() if isinstance(v, Tensor)}
    if not tensors:
        return {name: float(v) for name, v in scalars.items()}
    moved = torch.stack([t.detach().to(torch.float64) for t in tensors.values()]).tolist()
    values = dict(zip(tensors, moved, strict=True))
    return {name: values[name] if name in values else float(v) for name, v in scalars.items()}
