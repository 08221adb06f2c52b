"""Random numbers as a function of (seed, step, purpose), so that no generator state needs saving."""

from __future__ import annotations

import hashlib
from enum import StrEnum

import torch
from torch import Tensor


class Purpose(StrEnum):
    INIT = "init"
    JACREG = "jacreg"
    HINGE = "hinge"


def generator(
    seed: int, step: int, purpose: Purpose, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator; equal arguments give equal numbers on one kind of device."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose.value}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def normal_like(t: Tensor, seed: int, step: int, purpose: Purpose) -> Tensor:
    """N(0, 1) of the shape, type and device of ``t``."""
    source = generator(seed, step, purpose, t.device)
    return torch.randn(t.shape, generator=source, dtype=t.dtype, device=t.device)
