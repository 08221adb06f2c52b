"""Anderson acceleration of the free phase (Anderson 1965; Walker & Ni 2011), per sequence and safeguarded.

The next state mixes the last m: z <- sum_i alpha_i (z_i + h F_i), with alpha minimising ||sum_i alpha_i F_i|| under
sum_i alpha_i = 1. With G_ij = <F_i, F_j> that is alpha ~ (G + lambda tr(G)/n I)^-1 1 over the n states at hand: a
regularisation relative to G, because an absolute one turns the mixture into a mean once F is small.

Safeguard: where a mixed state has a larger ||F|| than the state it was mixed from, that sequence goes back and takes a
plain Euler step from there instead. What was seen at the rejected state still serves the next mixture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm


class Anderson:
    """A search for F(z) = 0. ``z`` (B, T, C) is the state it stands at, once `advance` was called."""

    def __init__(
        self, z: Tensor, *, memory: int, regularisation: float, mixing: float, eps: float
    ) -> None:
        """``mixing`` is h, ``eps`` the plain step."""
        B = z.shape[0]
        self.z = z
        self.size = torch.full((B,), torch.inf, dtype=z.dtype, device=z.device)  # ||F(z)||
        self._f = torch.zeros_like(z)
        self._trial = z
        self._mixed = torch.zeros(B, dtype=torch.bool, device=z.device)
        self._regularisation, self._mixing, self._eps = regularisation, mixing, eps
        self._Z = z.new_zeros(B, memory, *z.shape[1:])
        self._F = torch.zeros_like(self._Z)
        self._gram = z.new_zeros(B, memory, memory, dtype=torch.float64)
        self._known = torch.zeros(B, memory, dtype=torch.bool, device=z.device)
        self._seen = 0

    def residual(self, eps: float) -> Tensor:
        """The step residual eps ||F(z)|| / ||z|| per sequence, (B,); infinite before the first force."""
        return eps * self.size / per_sequence_norm(self.z)

    @torch.no_grad()
    def advance(self, force: Callable[[Tensor], Tensor], evaluations: int) -> None:
        """Spend ``evaluations`` of the force."""
        for _ in range(evaluations):
            self._step(force)

    def _step(self, force: Callable[[Tensor], Tensor]) -> None:
        f = force(self._trial)
        size = per_sequence_norm(f)
        worse = self._mixed & ~(size <= self.size)
        self._remember(f, size)
        back = worse[:, None, None]
        self.z = torch.where(back, self.z, self._trial)
        self._f = torch.where(back, self._f, f)
        self.size = torch.where(worse, self.size, size)
        alpha = self._weights()
        self._mixed = ~worse & alpha.isfinite().all(-1)
        plain = torch.add(self.z, self._f, alpha=self._eps)
        self._trial = torch.where(self._mixed[:, None, None], self._mixture(alpha), plain)

    def _remember(self, f: Tensor, size: Tensor) -> None:
        """Put the trial in the oldest slot; what is no number is put there as nothing."""
        slot = self._seen % self._Z.shape[1]
        self._seen += 1
        finite = size.isfinite()
        kept = finite[:, None, None]
        self._Z[:, slot] = torch.where(kept, self._trial, 0)
        self._F[:, slot] = torch.where(kept, f, 0)
        self._known[:, slot] = finite
        # sums over the width in the state's type, over positions in double: small against each other they may be
        row = torch.einsum("bmtc,btc->bmt", self._F, self._F[:, slot]).double().sum(-1)
        self._gram[:, slot, :] = row
        self._gram[:, :, slot] = row

    def _weights(self) -> Tensor:
        """alpha, (B, m); not finite where it is not determined."""
        known = self._known.double()
        scale = self._gram.diagonal(dim1=-2, dim2=-1).sum(-1) / known.sum(-1)
        diagonal = torch.where(self._known, (self._regularisation * scale)[:, None], 1.0)
        solution: Tensor = torch.linalg.solve_ex(
            self._gram + torch.diag_embed(diagonal), known
        ).result
        return solution / solution.sum(-1, keepdim=True)

    def _mixture(self, alpha: Tensor) -> Tensor:
        """z + sum_i alpha_i (z_i - z + h F_i): differences, because alpha may be large and of both signs."""
        terms = torch.add(self._Z - self._trial[:, None], self._F, alpha=self._mixing)
        return self._trial + torch.einsum("bm,bmtc->btc", alpha.to(terms.dtype), terms)
