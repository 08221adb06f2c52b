"""What the gradient of a step looks like: its norms by block, and how many tensors of it are no numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Named = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Norms:
    """Norms of a gradient, on its device. ``total`` (), ``blocks`` (blocks,); ``bad`` (): tensors not finite."""

    total: Tensor
    blocks: Tensor
    bad: Tensor

    def metrics(self) -> dict[str, Tensor]:
        by_block = {f"grad/block{i}": norm for i, norm in enumerate(self.blocks)}
        return {
            **by_block,
            "grad/non_finite": self.bad,
            "grad/block_ratio": block_ratio(self.blocks),
        }


def present(model: nn.Module) -> dict[str, Tensor]:
    """The gradients that are there, by the names of their parameters."""
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def norms(gradients: Named, blocks: int) -> Norms:
    """Of gradients by their names; those of block i are named ``blocks.i. ...``."""
    device = next(iter(gradients.values())).device
    # float64 from here on: the square of a norm that float32 holds may be beyond it
    single = torch.stack(torch._foreach_norm(list(gradients.values()))).double()
    squares = single.square()
    place = torch.tensor([_block(name, blocks) for name in gradients], device=device)
    summed = squares.new_zeros(blocks + 1).index_add(0, place, squares)
    return Norms(
        total=squares.sum().sqrt(),
        blocks=summed[:blocks].sqrt(),
        bad=(~single.isfinite()).sum(),
    )


def block_ratio(blocks: Tensor) -> Tensor:
    """The largest norm of a block over that of the block above it: by how much one block amplifies. 1 of one block.

    Not a number, or infinite, where a gradient is.
    """
    if len(blocks) < 2:
        return torch.ones_like(blocks.sum())
    return (blocks[:-1] / blocks[1:].clamp(min=torch.finfo(blocks.dtype).tiny)).max()


def scale_(gradients: Sequence[Tensor], factor: float) -> None:
    if factor != 1.0:
        torch._foreach_mul_(list(gradients), factor)


def _block(name: str, blocks: int) -> int:
    """The number of its block; that behind the last for what is in none."""
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" else blocks
