"""Mixing over the tokens of a frame, which memories and MLPs leave apart.

(B, T, P, D) -> transpose -> Linear(P, P) -> GELU -> Linear(P, P) -> transpose, no biases. The second matrix begins
at zero, so that at the start the block is what it would be without mixing (`init.special`).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as nnf


class SpatialMixing(nn.Module):
    """What mixing adds, (B, N, D) in frames of ``tokens``."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.into = nn.Linear(tokens, tokens, bias=False)
        self.out = nn.Linear(tokens, tokens, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x.unflatten(1, (-1, self.tokens)).mT
        return self.out(nnf.gelu(self.into(y))).mT.flatten(1, 2)
