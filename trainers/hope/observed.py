"""What the memories did in a pass, as a few scalars on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from trainers.hope.writing import WriteRecord


def memory_metrics(
    blocks: Iterable[nn.Module], records: Sequence[Sequence[WriteRecord]]
) -> dict[str, Tensor]:
    """Means over all writes of a pass; ``memory/retention``, mean over blocks. Nothing where nothing was written."""
    writes = [record for of_block in records for record in of_block]
    if not writes:
        return {}
    found = _of_writes(writes)
    kept = [
        retention(block, of_block)
        for block, of_block in zip(blocks, records, strict=True)
        if of_block
    ]
    return {**found, "memory/retention": torch.stack(kept).mean()}


def _of_writes(writes: Sequence[WriteRecord]) -> dict[str, Tensor]:
    """All writes stacked, so that their number does not count in kernels."""
    raw, p = (torch.stack([getattr(w, name) for w in writes]) for name in ("raw", "p"))
    return {
        "memory/p_mean": p.mean(),
        "memory/p_std": p.flatten(1).std(1, unbiased=False).mean(),
        "memory/p_at_0": (raw <= 0).float().mean(),
        "memory/p_at_1": (raw >= 1).float().mean(),
        "memory/gate": torch.stack([w.mask for w in writes]).mean(),
    }


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
