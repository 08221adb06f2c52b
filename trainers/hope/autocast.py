"""The type of matrix products: what autocast asks for where it is on."""

from __future__ import annotations

import torch

_AUTOCAST = frozenset(kind for kind in ("cpu", "cuda") if torch.amp.is_autocast_available(kind))
"""Asked once, here: torch 2.11 cannot compile the question."""


def product_dtype(kind: str, otherwise: torch.dtype) -> torch.dtype:
    """Of products on a device of that kind, as autocast has it there; ``otherwise`` where it is off."""
    if kind not in _AUTOCAST or not torch.is_autocast_enabled(kind):
        return otherwise
    return torch.get_autocast_dtype(kind)
