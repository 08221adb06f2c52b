"""Our step beside the documented one, written plainly by itself (tests/support/naive_ep.py)."""

from __future__ import annotations

import pytest
import torch

from specs.trainer_ep import EpTrainer
from tests.support.naive_ep import Naive
from trainers.ep.block import Params, embed, fold, force, init
from trainers.ep.task import task_gradient

SETTINGS = EpTrainer(
    kind="ep",
    width=16,
    heads=2,
    context=8,
    batch=3,
    init_scale=0.5,
    relaxation={"T1": 200, "t1max": 200},
    adjoint={"max_steps": 100, "tolerance": 1e-9, "radius": 0.005},
)
VOCABULARY = 11


@pytest.fixture
def params() -> Params:
    drawn = init(SETTINGS, VOCABULARY, torch.Generator().manual_seed(3), torch.float64)
    return Params(*(t.requires_grad_() for t in drawn))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    words = torch.randint(VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(4))
    return words[:, :-1].contiguous(), words[:, 1:].contiguous()


def naive() -> Naive:
    return Naive(heads=2, damping=1.0, T1=200, T2=100, radius=0.005)


def flat(gradient: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradient])


def test_the_force_is_the_documented_one(
    params: Params, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    x = embed(params, batch[0])
    z = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5)).double()
    torch.testing.assert_close(
        force(fold(params, SETTINGS), z, x), naive().force(params, z, x), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("estimator", ["rbp", "ep"])
def test_the_gradient_is_the_documented_one(
    params: Params, batch: tuple[torch.Tensor, torch.Tensor], estimator: str
) -> None:
    settings = SETTINGS.model_copy(update={"estimator": type(SETTINGS.estimator)(estimator)})
    ours = flat(task_gradient(params, settings, *batch).gradient)
    theirs = flat(naive().gradient(params, *batch))
    assert float(torch.nn.functional.cosine_similarity(ours, theirs, dim=0)) >= 0.9999
    assert float((ours - theirs).norm() / theirs.norm()) <= 1e-2


def test_the_twin_is_backpropagation_through_the_documented_relaxation(
    params: Params, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    settings = SETTINGS.model_copy(update={"estimator": type(SETTINGS.estimator)("bptt")})
    torch.testing.assert_close(
        flat(task_gradient(params, settings, *batch).gradient),
        flat(naive().bptt(params, *batch)),
        rtol=1e-8,
        atol=1e-10,
    )
