"""What the EP trainer needs of a text, and the text that a checkpoint was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from specs.files import BadCheckpoint
from trainers.data import load
from trainers.ep.open import Opened


class TextBatches(Protocol):
    """Tokens of a text. ``batch`` is a pure function of its arguments and the data's seed."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def tokenizer_hash(self) -> str: ...

    @property
    def text_hash(self) -> str: ...

    def bytes_per_token(self, split: str) -> float | None:
        """UTF-8 bytes of a part over its tokens; None where nobody knows."""
        ...

    def describe(self) -> Mapping[str, Any]: ...

    def batch(self, step: int, batch: int, context: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of training step ``step``, int64 (batch, context), on the CPU."""
        ...

    def validation(self, sequences: int, context: int) -> tuple[Tensor, Tensor]:
        """The same sequences at every call."""
        ...


def text_of(opened: Opened, cache: Path | None = None) -> TextBatches:
    """The text named in a checkpoint, proved to be the one that it was trained on.

    Raises CouldNotStart where the file cannot be used, BadCheckpoint where its content or its tokens are others.
    """
    data = load.load(opened.settings.data, opened.settings.seed, cache or load.default_cache())
    named = opened.settings.data.path or data.describe()["text"]
    wrong = [
        f"{what}: the checkpoint has {then}, {named} has {now}"
        for what, then, now in (
            ("vocabulary", opened.vocabulary, data.vocabulary),
            ("tokenizer", opened.tokenizer_hash, data.tokenizer_hash),
            ("text", opened.text_hash, data.text_hash),
        )
        if then != now
    ]
    if wrong:
        raise BadCheckpoint(
            f"{opened.path} was trained on another text than is there now: {'; '.join(wrong)}"
        )
    return data
