"""Tensor cores without a GPU: products take TF32 operands wherever TF32 is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.tf32 import KEPT

aten = torch.ops.aten
LEFT: Mapping[Any, int] = {
    aten.mm.default: 0,
    aten.bmm.default: 0,
    aten.addmm.default: 1,
    aten.addmm_.default: 1,
    aten.baddbmm.default: 1,
    aten.baddbmm_.default: 1,
}
"""Product -> which argument is its left operand."""


def truncated(t: Tensor) -> Tensor:
    """``t`` with the 10 bits of mantissa that a tensor core reads."""
    return (t.view(torch.int32) & KEPT).view(torch.float32)


class TensorCores(TorchDispatchMode):
    """While it is entered. ``coarse`` and ``exact``: float32 products with TF32 allowed, and without."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse = 0
        self.exact = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        at = LEFT.get(func)
        if at is None or args[at].dtype != torch.float32:
            return func(*args, **(kwargs or {}))
        if not torch.backends.cuda.matmul.allow_tf32:
            self.exact += 1
            return func(*args, **(kwargs or {}))
        self.coarse += 1
        operands = tuple(truncated(t) for t in args[at : at + 2])
        return func(*args[:at], *operands, *args[at + 2 :], **(kwargs or {}))
