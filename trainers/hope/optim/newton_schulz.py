"""The nearest semi-orthogonal matrix, about: five steps of a quintic Newton-Schulz iteration.

Singular values end up between .7 and 1.2, not at 1: the coefficients are chosen for speed at small ones. Source:
K. Jordan et al., Muon (2024).
"""

from __future__ import annotations

from torch import Tensor

STEPS = 5
A, B, C = 3.4445, -4.7750, 2.0315
TINY = 1e-7


def orthogonal(g: Tensor) -> Tensor:
    """About U V^T of g = U S V^T, for a matrix (m, n), in its own precision; zeros stay zeros."""
    tall = g.shape[0] > g.shape[1]
    x = g.mT if tall else g
    x = x / x.norm().clamp(min=TINY)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.mT if tall else x
