"""What a probe is told, and how it refuses. Standard library only: a wrong order is answered without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CODES = {
    "usage": 2, "checkpoint": 5, "text": 5, "clips": 5, "plot": 5, "exists": 5, "device": 5, "memory": 5,
}  # fmt: skip
"""Exit code of each kind of refusal."""


class Refused(Exception):
    """What was asked cannot be done; ``kind`` is one of `CODES`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be measured, and on what."""

    of: str = "both"  # parameters, average, both: of the EP probes
    sequences: int | None = None  # sequences or clips; None: as many as the settings say
    device: str = "cpu"  # cpu, cuda
    threads: int = 1
    options: dict[str, Any] = field(default_factory=dict)  # the probe's own
    plot: str | None = None
    replace: bool = False  # a file that lies where the plot goes
    tied: bool = False  # end when stdin ends

    def __post_init__(self) -> None:
        if self.sequences is not None and self.sequences < 1:
            raise ValueError(f"sequences is {self.sequences}, allowed: 1 or more")
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}, allowed: 1 or more")
