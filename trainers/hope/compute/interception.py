"""All large float32 products of a step, forward and backward, made of three TF32 ones.

They are taken where PyTorch hands them to a device, after autograd: so those of a backward pass are among them, and
those that a write computes in closed form. Attention is none of them; it stays what it is in float32. TF32 is allowed
for each product that was taken and for nothing else. Every operator passes through Python, which costs an eager step
time and a replayed CUDA graph none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.hope.compute.three_products import Cuts, product
from trainers.tf32 import tensor_cores

LEAST = 1 << 30
"""Operations of a product worth it: below, float32 needs less than 30 us, about what the six or more kernels take to
begin that stand for one."""

aten = torch.ops.aten


def _mm(cuts: Cuts, a: Tensor, b: Tensor) -> Tensor:
    return product(a, b, cuts)


def _addmm(
    cuts: Cuts, plus: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    return product(a, b, cuts, plus=plus, beta=beta, alpha=alpha)


PRODUCTS: Mapping[Any, tuple[Callable[..., Tensor], int]] = {
    aten.mm.default: (_mm, 0),
    aten.bmm.default: (_mm, 0),
    aten.addmm.default: (_addmm, 1),
    aten.baddbmm.default: (_addmm, 1),
}
"""Operator -> what stands for it, and which argument is the left operand."""


class ThreeProducts(TorchDispatchMode):
    """On while it is entered: float32 products on ``kind`` of device of ``least`` operations or more are three.

    ``taken``: how many there were.
    """

    def __init__(self, kind: str = "cuda", *, least: int = LEAST) -> None:
        super().__init__()
        self.taken = 0
        self._kind = kind
        self._least = least
        self._cuts = Cuts()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        made_of, at = PRODUCTS.get(func, (None, 0))
        if made_of is None or not self._worth_it(*args[at : at + 2]):
            return func(*args, **given)
        self.taken += 1
        with tensor_cores():
            return made_of(self._cuts, *args, **given)

    def _worth_it(self, a: Tensor, b: Tensor) -> bool:
        if a.device.type != self._kind or not a.dtype == b.dtype == torch.float32:
            return False
        return 2 * a.numel() * b.shape[-1] >= max(1, self._least)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cuts.forget()
        super().__exit__(exc_type, exc, traceback)
