"""Which tensors made a number of a training step what it must not be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from trainers.finite import culprits, first_bad
from trainers.protocol import NonFinite

NAMED = 3
"""Tensors that a message names: one bad number spoils most of them within a step."""

NONE_TO_BLAME = "every tensor looked at is finite: it overflowed in a sum"

MAY_BE_INFINITE = "grad/block_ratio"
"""What is over nothing where a block has no gradient: that ends no run."""


def refuse_non_finite(
    measured: Mapping[str, float], step: int, model: nn.Module, gradients: Mapping[str, Tensor]
) -> None:
    """Raises NonFinite with the first number of ``measured`` that is none, and the tensors that are to blame."""
    bad = first_bad({name: value for name, value in measured.items() if name != MAY_BE_INFINITE})
    if bad is None:
        return
    whose = [
        *model.named_parameters(),
        *((f"the gradient of {name}", gradient) for name, gradient in gradients.items()),
    ]
    raise NonFinite(f"{bad} is {measured[bad]} in training step {step}: {_blamed(whose)}", measured)


def _blamed(named: Iterable[tuple[str, Tensor]]) -> str:
    """The first tensors that are not finite, and how many more there are."""
    found = culprits(named)
    if not found:
        return NONE_TO_BLAME
    more = len(found) - NAMED
    return "; ".join(found[:NAMED]) + (f"; and {more} more tensors" if more > 0 else "")
