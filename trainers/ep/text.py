"""What the EP trainer needs of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor


class TextBatches(Protocol):
    """Tokens of a text. ``batch`` is a pure function of its arguments and the data's seed."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def tokenizer_hash(self) -> str: ...

    def bytes_per_token(self, split: str) -> float: ...

    def describe(self) -> Mapping[str, Any]: ...

    def batch(self, step: int, batch: int, context: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of training step ``step``, int64 (batch, context), on the CPU."""
        ...

    def validation(self, sequences: int, context: int) -> tuple[Tensor, Tensor]:
        """The same sequences at every call."""
        ...
