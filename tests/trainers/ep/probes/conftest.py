"""Models that are probed, and small dynamics whose fate is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainers.ep.conftest import VOCABULARY
from trainers.ep.block import Params, init
from trainers.ep.probes.model import Model
from trainers.ep.probes.root import equilibrium


@pytest.fixture
def said() -> list[str]:
    """What the probe has said."""
    return []


@pytest.fixture
def model(toy: Callable[..., Any]) -> Callable[..., Model]:
    """A toy block as a probe gets it: double precision, without gradients."""

    def make(seed: int = 0, **fields: Any) -> Model:
        t = toy(seed, **fields)
        params = Params(*(p.detach() for p in t.params))
        return Model(name="parameters", settings=t.settings, params=params, idx=t.idx, y=t.y)

    return make


@pytest.fixture
def unstable(settings: Callable[..., Any], jacobian: Callable[..., Tensor]) -> Model:
    """Sharp attention without damping: an equilibrium that the dynamics leave for a cycle, proved by its J."""
    chosen = settings(
        width=32, heads=2, context=8, init_scale=1.0, damping=0.0, qk_norm=False, batch=2
    )
    source = torch.Generator().manual_seed(2)
    drawn = init(chosen, VOCABULARY, source, torch.float64)
    params = drawn._replace(W_Q=4 * drawn.W_Q, W_K=4 * drawn.W_K)
    idx = torch.randint(VOCABULARY, (2, 8), generator=torch.Generator().manual_seed(2))
    both = Model(name="parameters", settings=chosen, params=params, idx=idx, y=idx)
    one = both.only(1)
    at = equilibrium(one)
    assert at.is_root
    assert float(torch.linalg.eigvals(jacobian(one.system.force, at.z)).real.max()) > 0.1
    return one


@dataclass(frozen=True)
class Linear:
    """F(z) = A z; the state (B, T, C) is one vector a sequence."""

    A: Tensor

    def force(self, z: Tensor) -> Tensor:
        return self.jvp(z)

    def linearise(self, z: Tensor) -> Linear:
        return self

    def jvp(self, v: Tensor) -> Tensor:
        return (v.flatten(-2) @ self.A.mT).view_as(v)


@dataclass(frozen=True)
class Hopf:
    """The normal form of a Hopf bifurcation about ``centre``: z' = (mu + i omega) z - |z|^2 z, a state (B, 1, 2).

    mu > 0: a cycle of radius sqrt(mu) and period 2 pi / omega; mu < 0: a root.
    """

    mu: float
    omega: float
    centre: float = 3.0

    def force(self, z: Tensor) -> Tensor:
        x, y = (z - self.centre).unbind(-1)
        r2 = x * x + y * y
        return torch.stack(
            (
                self.mu * x - self.omega * y - r2 * x,
                self.omega * x + self.mu * y - r2 * y,
            ),
            dim=-1,
        )

    def start(self, *radii: float) -> Tensor:
        z = torch.zeros(len(radii), 1, 2, dtype=torch.float64)
        z[:, 0, 0] = torch.tensor(radii)
        return z + self.centre
