"""Floating-point operations of a HOPE training step, a clip, without a device: ``python -m tests.bench.hope_flops``.

Forward and backward pass of the models of `tests.bench.hope_models` on the meta device, where nothing is computed.
Products and attention count, elementwise work does not; the whole square of attention counts, as its kernels with a
mask compute it. Operators are those that reach a device: about the kernels that eager code launches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tests.bench.hope_models import MODELS, Scale, settings_of
from trainers.hope.losses import Batch, lost
from trainers.hope.model import Predictor

AGAINST = "ViT-24"
NO_KERNEL = ("view", "expand", "transpose", "t.default", "slice.", "select.", "split", "unbind")
NO_KERNEL += ("permute", "detach", "as_strided", "squeeze", "alias", "empty", "reshape")


class Operators(TorchDispatchMode):
    """Counts what is no mere view."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not any(part in str(func) for part in NO_KERNEL)
        return func(*args, **(kwargs or {}))


def counted(of: str) -> tuple[float, int]:
    """(operations of one clip, operators of a step)."""
    settings = settings_of(Scale(samples=1), of, {})
    down, across = settings.data.grid
    shape = (1, settings.context + 1, down * across, settings.data.feature_width)
    with torch.device("meta"):
        model = Predictor(
            settings.model, grid=(down, across), feature_width=shape[-1], context=settings.context
        )
        rest = torch.zeros(1, settings.context, 2)
        batch, tau = (
            Batch(features=torch.zeros(shape), actions=rest, states=rest),
            torch.tensor([6]),
        )
        with FlopCounterMode(display=False) as flops:
            lost(model, batch, settings.losses, tau).total.backward()
        with Operators() as operators:
            lost(model, batch, settings.losses, tau).total.backward()
    return float(flops.get_total_flops()), operators.count


def main() -> None:
    found = {of: counted(of) for of in MODELS}
    for of, (flops, operators) in found.items():
        part = flops / found[AGAINST][0]
        print(
            f"{of:8} {flops / 1e9:7.0f} GFLOP a clip, {part:.2f} of {AGAINST}; {operators} operators"
        )


if __name__ == "__main__":
    main()
