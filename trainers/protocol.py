"""What a trainer must be able to do, so that one loop (fit.py) can drive every one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the watcher judges a checkpoint by; stored in it as evidence.json.

    ``finite`` covers every tensor of the state. ``metrics`` are measured at the checkpoint itself.
    """

    finite: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that exact resumption needs besides the step.

    ``tensors`` maps a file stem (model, ema, optimizer, ...) to named tensors, saved as safetensors;
    ``scalars`` is JSON: data position, random states, controller state, tokenizer hash.
    """

    tensors: Mapping[str, Mapping[str, torch.Tensor]]
    scalars: Mapping[str, Any]


class Trainer(Protocol):
    """A model, its optimiser and its data, advanced one step at a time. No clock, no files."""

    @property
    def step(self) -> int:
        """Training steps done."""
        ...

    @property
    def total_steps(self) -> int: ...

    @property
    def phase(self) -> str | None:
        """The phase of training that the newest step belongs to (before any, the first step's); None where
        there is one only. What is measured in one phase is no yardstick for the next."""
        ...

    @property
    def evaluate_every(self) -> int: ...

    @property
    def checkpoint_every(self) -> int: ...

    @property
    def log_every(self) -> int: ...

    def describe(self) -> Mapping[str, Any]:
        """Facts for the log and events.jsonl: parameters, data split, vocabulary, device."""
        ...

    def advance(self) -> Mapping[str, float]:
        """One training step; its metrics. Raises NonFinite where no sensible step is left."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Validation metrics; must not change what the next `advance` computes."""
        ...

    def evidence(self) -> Evidence:
        """Measured for a checkpoint; must not change what the next `advance` computes."""
        ...

    def snapshot(self) -> Snapshot:
        """The whole state, for exact resumption."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Continue exactly where `snapshot` was taken. Raises BadCheckpoint if it does not fit."""
        ...

    def warm_start(self, snapshot: Snapshot) -> None:
        """Take over the parameters only; step 0, new optimiser. Raises BadCheckpoint likewise."""
        ...


class NonFinite(Exception):
    """A loss, gradient or parameter is no finite number; the message names which.

    ``metrics``: what the step measured, not finite as it is; the loop still writes it down.
    """

    def __init__(self, message: str, metrics: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.metrics: Mapping[str, float] = dict(metrics or {})
