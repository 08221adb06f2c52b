"""Random numbers as a function of (seed, step, purpose), so that no generator state needs saving."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import torch


def generator(
    seed: int, step: int, purpose: StrEnum, device: torch.device | str = "cpu", index: int = 0
) -> torch.Generator:
    """A fresh generator; equal arguments give equal numbers on one kind of device.

    ``index`` tells several draws of one purpose in one step apart.
    """
    words = (f"{seed}", f"{step}", purpose.value, *([f"{index}"] if index else []))
    digest = hashlib.sha256("/".join(words).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
