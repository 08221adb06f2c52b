"""N nudged phases on a circle of complex nudges, kept as N real rows.

    beta_k = beta e^{2 pi i k / N},    k = 0 .. N-1

F is real on real states, so z_{N-k} is the conjugate of z_k and half the phases hold all of them: the rows are z_0 and
z_{N/2}, which are real, then the real parts of z_k, k = 1 .. N/2 - 1, then their imaginary parts. Everything but F is
linear in the rows, and so a set of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.ep.norms import per_sequence_norm

STRAYED = 2.0
"""Where one phase is farther from the mean than this times another, there is no circle any more."""


@dataclass(frozen=True, kw_only=True)
class Circle:
    """Weights of the rows, each (N, 1, 1, 1); rows are (N, B, T, C)."""

    points: int
    nudge: Tensor  # what a row gets of a displacement beta d: cos or sin of its phase's angle
    state: Tensor  # what it holds of a real state: one in real parts, zero in imaginary ones
    mean: Tensor  # sum of (mean x row) = the mean over all N phases
    harmonic: Tensor  # sum of (harmonic x row) = Re (1/N) sum_k e^{-2 pi i k / N} z_k

    @classmethod
    def of(cls, points: int, like: Tensor) -> Circle:
        angles = [2 * math.pi * k / points for k in range(1, points // 2)]
        cos, sin = [math.cos(t) for t in angles], [math.sin(t) for t in angles]
        m = len(angles)

        def weights(*values: float) -> Tensor:
            return like.new_tensor(values)[:, None, None, None]

        return cls(
            points=points,
            nudge=weights(1, -1, *cos, *sin),
            state=weights(1, 1, *[1] * m, *[0] * m),
            mean=weights(1, 1, *[2] * m, *[0] * m) / points,
            harmonic=weights(1, -1, *(2 * c for c in cos), *(2 * s for s in sin)) / points,
        )

    @property
    def complex_phases(self) -> int:
        return self.points // 2 - 1

    def force(self, force: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """F of every phase, as rows: two real evaluations and N/2 - 1 complex ones."""
        real = force(rows[:2])
        if not self.complex_phases:
            return real
        re, im = rows[2:].chunk(2)
        f = force(torch.complex(re, im))
        return torch.cat((real, f.real, f.imag))

    def independent(self, balanced: Tensor) -> Tensor:
        """All rows but that of z_{N/2}: of rows whose mean is zero they say everything. One alone is (B, T, C)."""
        return torch.cat((balanced[:1], balanced[2:])) if self.complex_phases else balanced[0]

    def completed(self, independent: Tensor) -> Tensor:
        """All rows again, their mean zero."""
        if not self.complex_phases:
            return torch.stack((independent, -independent))
        first, rest = independent[:1], independent[1:]
        second = -(first + 2 * rest[: self.complex_phases].sum(0, keepdim=True))
        return torch.cat((first, second, rest))

    def on_circle(self, rows: Tensor) -> Tensor:
        """Are all phases equally far from the mean, as to first order they must be? (B,).

        A complex one that came near a pole or a branch point is not, nor is a real one that it drove through the
        mean into another basin: that one alone keeps its distance while nudge and displacements shrink. Neither
        is one that is no number. Half the distance of the real pair counts as one more: a shift that both share is
        no part of a circle. Of two phases the mean is the middle: they are equally far wherever they are.
        """
        away = rows - self.state * contract(self.mean, rows)
        pair = (away[0], away[1], 0.5 * (away[0] - away[1]))
        far = torch.stack([per_sequence_norm(phase) for phase in pair])
        if self.complex_phases:
            re, im = away[2:].chunk(2)
            far = torch.cat((far, torch.hypot(per_sequence_norm(re), per_sequence_norm(im))))
        return far.isfinite().all(0) & (far.amax(0) <= STRAYED * far.amin(0))


def contract(weights: Tensor, rows: Tensor) -> Tensor:
    """The weighted sum over rows, (B, T, C). No matrix product: displacements would drown in TF32."""
    return (weights * rows).sum(0)
