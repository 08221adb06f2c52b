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


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def of_few_steps(
    params: Params, batch: tuple[torch.Tensor, torch.Tensor], **adjoint: object
) -> torch.Tensor:
    """`ep` with twelve updates: the thirteenth application of J^T measures r_adj and moves nothing."""
    few = {"max_steps": 13, "tolerance": 1e-12, **adjoint}
    settings = EpTrainer.model_validate(
        {**SETTINGS.model_dump(), "estimator": "ep", "adjoint": few}
    )
    return flat(task_gradient(params, settings, *batch).gradient)


def test_unconverged_phases_give_the_documented_answer_from_the_same_start(
    params: Params, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Frozen ell, one product for both phases, shrinking displacements: all cost the square of the radius at most."""
    errors = []
    for radius in (0.02, 0.01):
        plain = Naive(heads=2, damping=1.0, T1=200, T2=12, radius=radius, ahead=True)
        theirs = flat(plain.gradient(params, *batch))
        ours = of_few_steps(params, batch, radius=radius)
        assert cosine(ours, theirs) >= 0.99999
        errors.append(float((ours - theirs).norm() / theirs.norm()))
    assert errors[1] < 0.3 * errors[0] < 3e-4


def test_where_the_phases_start_is_what_truncation_leaves_of_the_answer(
    params: Params, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """The documents start at the free state; a step of the silent block ahead is nearer the exact gradient."""
    exact = EpTrainer.model_validate(
        {**SETTINGS.model_dump(), "estimator": "exact", "adjoint": {"tolerance": 1e-10, "max_steps": 500}}
    )  # fmt: skip
    truth = flat(task_gradient(params, exact, *batch).gradient)
    documented = Naive(heads=2, damping=1.0, T1=200, T2=12, radius=0.005)
    theirs = flat(documented.gradient(params, *batch))
    ours = of_few_steps(params, batch, radius=0.005)
    assert cosine(theirs, truth) < cosine(ours, truth) < 0.99999
    assert cosine(ours, theirs) < 0.9999


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
