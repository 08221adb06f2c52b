"""The norm that everything is measured by: sequences are independent systems, so each has its own."""

from __future__ import annotations

import torch
from torch import Tensor


def per_sequence_norm(t: Tensor) -> Tensor:
    """Euclidean norm over positions and width: (..., T, C) -> (...)."""
    return torch.linalg.vector_norm(t, dim=(-2, -1))
