"""Windows of context + 1 tokens: random ones for training, evenly spaced ones for validation.

A batch is a pure function of (seed, step), so the step is the whole position in the data: nothing else of it needs
to be in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.failure import CouldNotStart

TRAIN, VALIDATION = "train", "validation"
CHANGE = "trainer.data.path"


class BadText(CouldNotStart):
    """A text that cannot be trained on; the message says which, why, and what to change."""


class Windows:
    """Sampling with replacement, uniform over all windows of the training part."""

    def __init__(self, source: str, tokens: Mapping[str, NDArray[Any]], seed: int) -> None:
        self._source = source
        self._tokens = dict(tokens)
        self._seed = seed

    def batch(self, step: int, batch: int, context: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of training step ``step``, int64 (batch, context) each, on the CPU."""
        windows = self._windows(TRAIN, context, batch=1)
        # raw Philox words, whose sequence numpy promises never to change; the product takes their top
        words = np.random.Philox(key=[self._seed, step]).random_raw(batch)
        starts = [(int(word) * windows) >> 64 for word in words]
        return self._gather(TRAIN, np.array(starts, np.int64), context)

    def validation(self, sequences: int, context: int) -> tuple[Tensor, Tensor]:
        """The same evenly spaced windows at every call, int64 (sequences, context) each."""
        windows = self._windows(VALIDATION, context, batch=sequences)
        starts = np.arange(sequences, dtype=np.int64) * windows // sequences
        return self._gather(VALIDATION, starts, context)

    def _windows(self, split: str, context: int, *, batch: int) -> int:
        """How many windows with a target behind each token there are; raises BadText if too few."""
        tokens = len(self._tokens[split])
        windows = tokens - context
        if windows < batch:
            raise BadText(
                f"{self._source} is too short: its {split} part has {tokens} tokens, and "
                f"{batch} window(s) of context {context} need {context + batch}; take a longer text "
                f"({CHANGE}), a shorter context or another validation_fraction"
            )
        return windows

    def _gather(self, split: str, starts: NDArray[np.int64], context: int) -> tuple[Tensor, Tensor]:
        at = starts[:, None] + np.arange(context + 1)
        tokens = torch.from_numpy(self._tokens[split][at].astype(np.int64))
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
