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


class OnItsWay:
    """A tensor that goes to the host while the device works on with what is launched after it."""

    def __init__(self, tensor: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        if not tensor.is_cuda:
            self._there = tensor.detach().clone()
            return
        self._there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._there.copy_(tensor.detach(), non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._arrived.record()

    def wait(self) -> Tensor:
        """The tensor as it was when it set out, on the host."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._there
