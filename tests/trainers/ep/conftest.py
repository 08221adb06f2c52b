"""Small models in double precision, and a text for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from specs.trainer_ep import EpTrainer
from trainers.ep.block import Folded, Params, embed, fold, force, init, start
from trainers.ep.estimators.system import BlockSystem
from trainers.ep.relax import euler

VOCABULARY = 11


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def settings() -> Callable[..., EpTrainer]:
    """Settings of a toy; keyword arguments replace fields. The hinge is off unless it is asked for, then on at every step."""

    def make(**fields: Any) -> EpTrainer:
        fields["hinge"] = {"ratio": 0.0, "every": 1, **fields.get("hinge", {})}
        toy: dict[str, Any] = {
            "kind": "ep",
            "width": 8,
            "heads": 2,
            "context": 5,
            "batch": 3,
            "ffn_factor": 2,
            "init_scale": 0.3,
            "steps": 20,
            "device": "cpu",
            "relaxation": {"T1": 20, "t1max": 40},
            "optimizer": {"lr": 1e-2, "warmup": 3},
            "validation": {"sequences": 4},
        }
        return EpTrainer(**{**toy, **fields})

    return make


class Toy(NamedTuple):
    settings: EpTrainer
    params: Params
    block: Folded
    idx: Tensor
    y: Tensor
    x: Tensor
    system: BlockSystem

    def force(self, z: Tensor) -> Tensor:
        return force(self.block, z, self.x)

    def fixed_point(self) -> Tensor:
        with torch.no_grad():
            return euler(self.force, start(self.block, self.x), 0.5, 400)

    @property
    def leaves(self) -> Params:
        return Params(*(t.clone().requires_grad_() for t in self.params))


@pytest.fixture
def toy(settings: Callable[..., EpTrainer]) -> Callable[..., Toy]:
    """A random block with LN gains, biases and weights all away from their start values, and one batch."""

    def make(seed: int = 0, **fields: Any) -> Toy:
        chosen = settings(**fields)
        source = torch.Generator().manual_seed(seed)
        drawn = init(chosen, VOCABULARY, source, torch.float64)
        params = Params(
            *(t + 0.05 * torch.randn(t.shape, generator=source, dtype=t.dtype) for t in drawn)
        )
        shape = (chosen.batch, chosen.context)
        idx = torch.randint(VOCABULARY, shape, generator=source)
        y = torch.randint(VOCABULARY, shape, generator=source)
        block, x = fold(params, chosen), embed(params, idx)
        system = BlockSystem(block=block, W_h=params.W_h, x=x, y=y)
        return Toy(chosen, params, block, idx, y, x, system)

    return make


@dataclass(frozen=True)
class ToyText:
    """Tokens where each is a noisy function of the one before."""

    seed: int = 0
    tokenizer_hash: str = "toy"
    text_hash: str = "toy text"
    vocabulary: int = VOCABULARY

    def bytes_per_token(self, split: str) -> float:
        return {"train": 2.0, "validation": 4.0}[split]

    def describe(self) -> dict[str, Any]:
        return {"text": "toy"}

    def batch(self, step: int, batch: int, context: int) -> tuple[Tensor, Tensor]:
        return self._draw(self.seed * 1009 + step + 1, batch, context)

    def validation(self, sequences: int, context: int) -> tuple[Tensor, Tensor]:
        return self._draw(0, sequences, context)

    def _draw(self, seed: int, batch: int, context: int) -> tuple[Tensor, Tensor]:
        source = torch.Generator().manual_seed(seed)
        tokens = torch.randint(self.vocabulary, (batch, context + 1), generator=source)
        tokens[:, 1::2] = (3 * tokens[:, 0:-1:2] + 1) % self.vocabulary
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


@pytest.fixture
def text() -> type[ToyText]:
    return ToyText


def dense_jacobian(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """dF/dz as a matrix over all elements of z."""
    return torch.autograd.functional.jacobian(f, z).reshape(z.numel(), z.numel())


@pytest.fixture
def jacobian() -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    return dense_jacobian


@pytest.fixture
def cosine() -> Callable[[Any, Any], float]:
    """Cosine of two tuples of tensors."""

    def of(a: Any, b: Any) -> float:
        u, v = (torch.cat([t.flatten() for t in ts]) for ts in (a, b))
        return float(u @ v / (u.norm() * v.norm()))

    return of
