"""The gradient of a batch: what a step leaves in the parameters."""

from __future__ import annotations

import pytest
import torch

from specs.products import Products
from tests.trainers.hope import small
from trainers.hope.compute.interception import ThreeProducts
from trainers.hope.compute.step import (
    Graphed,
    Plain,
    _flat,
    _unflat,
    products,
    products_on,
    step_for,
)
from trainers.hope.draws import Draws
from trainers.hope.losses import Drops

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked", [True, False])
def test_without_cuda_a_step_is_plain(asked: bool) -> None:
    settings = small.trainer(compute={"cuda_graphs": asked})
    model = small.predictor(settings.model, dtype=torch.float32)
    assert isinstance(step_for(model, settings, CPU), Plain)


@pytest.mark.parametrize(
    ("asked", "kind", "expected"),
    [
        ("3xtf32", "cuda", Products.TF32X3),
        ("float32", "cuda", Products.FLOAT32),
        ("3xtf32", "cpu", Products.FLOAT32),
    ],
)
def test_products_of_three_need_cuda(asked: str, kind: str, expected: Products) -> None:
    settings, device = small.trainer(compute={"products": asked}), torch.device(kind)
    assert products_on(settings, device) is expected
    assert isinstance(products(settings, device), ThreeProducts) is (expected is Products.TF32X3)


def test_a_run_says_how_its_products_are_computed() -> None:
    asked = small.training(compute={"products": "3xtf32"})
    assert asked.describe()["products"] == "float32"  # on a CPU


def test_gradients_of_the_batches_of_a_step_add_up_to_their_mean() -> None:
    settings = small.trainer(accumulate=2)
    model = small.predictor(settings.model, dtype=torch.float32)
    batches = [small.batch(dtype=torch.float32, seed=seed) for seed in (2, 3)]
    draws = Draws(tau=torch.tensor([3, 4]), drops=Drops())
    step = step_for(model, settings, CPU)

    def after(chosen: list[int]) -> torch.Tensor:
        model.zero_grad(set_to_none=True)
        for i in chosen:
            step(batches[i], draws)
        return model.embed.weight.grad.clone()

    torch.testing.assert_close(after([0, 1]), after([0]) + after([1]))


@pytest.mark.parametrize("which", [(), ("teacher", "jump"), ("teacher", "rollout", "jump")])
def test_what_a_graph_is_fed_comes_back_in_its_places(which: tuple[str, ...]) -> None:
    drops = Drops(**{name: torch.rand(2, 3, 2) for name in which})
    batch, draws = small.batch(), Draws(tau=torch.tensor([3, 4]), drops=drops)
    again, drawn = _unflat(_flat(batch, draws), draws)
    assert again == batch
    assert drawn == draws


@pytest.mark.gpu
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_graphed_step_is_the_plain_one(accumulate: int) -> None:
    settings = small.trainer(accumulate=accumulate, model={"pattern": "HTU", "drop_path": 0.1})
    model = small.trained(small.predictor(settings.model, dtype=torch.float32), 0.1).cuda()
    graphed, plain = Graphed(model, settings), Plain(model, settings)
    for seed in range(3):
        found = {}
        for name, step in (("graphed", graphed), ("plain", plain)):
            model.zero_grad(set_to_none=True)
            for part in range(accumulate):
                batch = small.batch(dtype=torch.float32, seed=10 * seed + part)
                source = torch.Generator().manual_seed(seed)
                rates = torch.rand(2, 3, 3, 2, generator=source).cuda()
                moved = type(batch)(
                    features=batch.features.cuda(),
                    actions=batch.actions.cuda(),
                    states=batch.states.cuda(),
                )
                tau = torch.tensor([3, 2 + part], device="cuda")
                measured = step(moved, Draws(tau=tau, drops=Drops(teacher=rates[0], jump=rates[1])))
            gradients = {
                n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
            }
            found[name] = {n: t.clone() for n, t in measured.items()}, gradients
        for ours, theirs in zip(found["graphed"], found["plain"], strict=True):
            assert ours.keys() == theirs.keys()
            for name, value in ours.items():
                torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5, msg=name)
