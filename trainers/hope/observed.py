"""What the memories did in a pass, as a few scalars on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from trainers.hope.memory import WriteRecord

OF_WRITES = ("p_mean", "p_std", "p_at_0", "p_at_1", "gate")


def memory_metrics(
    blocks: Iterable[nn.Module], records: Sequence[Sequence[WriteRecord]]
) -> dict[str, Tensor]:
    """Means over all writes of a pass; ``memory/retention``, mean over blocks. Nothing where nothing was written."""
    writes = [record for of_block in records for record in of_block]
    if not writes:
        return {}
    found = {
        f"memory/{name}": torch.stack([getattr(record, name) for record in writes]).mean()
        for name in OF_WRITES
    }
    kept = [
        retention(block, of_block)
        for block, of_block in zip(blocks, records, strict=True)
        if of_block
    ]
    return {**found, "memory/retention": torch.stack(kept).mean()}


@torch.no_grad()
def retention(block: nn.Module, records: Sequence[WriteRecord]) -> Tensor:
    """What is left of the weights that a memory began with: || W_0 p_1 ... p_n || / || W_0 ||.

    The writes' own additions do not count: this is how much a pass forgets, not how much it learns. With several
    states the root of their mean square. With the rank-1 preconditioner p is alpha alone, which bounds what is left
    from above.
    """
    product = torch.stack([record.kept for record in records]).prod(0)
    squares = torch.stack(
        [
            memory.W1.square().sum(0) + memory.W2.square().sum(1)
            for memory in block.titan.memories.values()
        ]
    ).sum(0)
    left = (product.square() * squares).sum(-1).mean()
    return (left / squares.sum().clamp(min=torch.finfo(squares.dtype).tiny)).sqrt()
