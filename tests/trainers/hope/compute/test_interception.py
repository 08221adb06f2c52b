"""Which products of a step are made of three, and what the step is then: all of it on a CPU, its tensor cores played."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import Losses
from tests.support.tensor_cores import LEFT, TensorCores
from tests.trainers.hope import small
from trainers.hope.compute.interception import LEAST, PRODUCTS, ThreeProducts
from trainers.hope.losses import Batch, lost
from trainers.hope.model import Predictor
from trainers.tf32 import tensor_cores

LOSSES = Losses(auxiliary=0.1, rollout=1.0, rollout_frames=3)
TAU = torch.tensor([3, 4])
EVERYTHING: dict[str, Any] = {
    "spatial_mixing": True,
    "temporal_embeddings": True,
    "cms": {"mults": [1.0, 1.5], "periods": [1, 3], "scheduled": True},
}


def model_of(pattern: str, dtype: torch.dtype, **more: Any) -> Predictor:
    of = small.settings(pattern=pattern, **{**EVERYTHING, **more})
    return small.trained(small.predictor(of, dtype=dtype), 0.1)


def batch_of(dtype: torch.dtype) -> Batch:
    given = small.batch(dtype=torch.float32)
    return Batch(
        features=given.features.to(dtype),
        actions=given.actions.to(dtype),
        states=given.states.to(dtype),
    )


def step(model: Predictor, dtype: torch.dtype) -> Tensor:
    """The loss and all gradients, as one vector."""
    total = lost(model, batch_of(dtype), LOSSES, TAU).total
    total.backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([total.detach()[None], *(g.flatten() for g in found)]).double()


def gap(ours: Tensor, exact: Tensor) -> float:
    return float((ours - exact).norm() / exact.norm())


@pytest.mark.parametrize("pattern", ["H", "T", "U", "HTUH"])
@pytest.mark.parametrize(
    "more",
    [
        {"memories": {"detach_interval": 0}},
        {"memories": {"scope": "per_sample", "preconditioner": "rank1"}},
        {"checkpoint_blocks": True},
    ],
    ids=["meta-gradient", "per sample, rank 1", "recomputed blocks"],
)
def test_a_step_of_three_products_is_as_exact_as_float32_and_none_is_left_coarse(
    pattern: str, more: dict[str, Any]
) -> None:
    exact = step(model_of(pattern, torch.float64, **more), torch.float64)
    with TensorCores() as cores, ThreeProducts("cpu", least=0) as three:
        fine = step(model_of(pattern, torch.float32, **more), torch.float32)
    with TensorCores(), tensor_cores():
        coarse = step(model_of(pattern, torch.float32, **more), torch.float32)
    assert cores.exact == 0
    assert cores.coarse >= three.taken > 0
    assert gap(fine, exact) <= 1e-5
    assert gap(coarse, exact) > 1e-4


def test_products_of_the_backward_pass_are_among_them() -> None:
    model, seen = model_of("HTU", torch.float32), []
    with ThreeProducts("cpu", least=0) as three:
        total = lost(model, batch_of(torch.float32), LOSSES, TAU).total
        seen.append(three.taken)
        total.backward()
    assert three.taken - seen[0] > seen[0]  # two products for each one, but for those of writes


class Seen(torch.utils._python_dispatch.TorchDispatchMode):
    """Names of all operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_a_step_has_no_other_products_than_those_and_attention() -> None:
    with Seen() as seen:
        step(model_of("HTU", torch.float32), torch.float32)
    words = ("mm", "matmul", "linear", "einsum", "mv", "dot", "conv")
    products = {name for name in seen.names if any(word in name for word in words)}
    rest = products - {str(func) for func in PRODUCTS}
    assert all("attention" in name for name in rest)


def operands(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(8, 8, dtype=dtype), torch.randn(8, 8, dtype=dtype)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        (lambda: ThreeProducts("cpu"), torch.float32),
        (lambda: ThreeProducts("cuda", least=0), torch.float32),
        (lambda: ThreeProducts("cpu", least=0), torch.float64),
        (lambda: ThreeProducts("cpu", least=0), torch.bfloat16),
    ],
    ids=["small", "on another device", "float64", "bfloat16"],
)
def test_other_products_are_left_as_they_are(mode: Any, dtype: torch.dtype) -> None:
    a, b = operands(dtype)
    with TensorCores() as cores, mode() as three:
        found = a @ b
    assert torch.equal(found, a @ b)
    assert (three.taken, cores.coarse) == (0, 0)


def test_a_product_is_worth_it_from_so_many_operations_on() -> None:
    with torch.device("meta"), ThreeProducts("meta") as three:
        a = torch.empty(LEAST // 2 // 512, 16)
        a[1:] @ torch.empty(16, 32)
        assert three.taken == 0
        a @ torch.empty(16, 32)
    assert three.taken == 1


def test_tf32_is_allowed_for_a_product_that_was_taken_and_for_nothing_else() -> None:
    """Nor for what stands between two of them, nor afterwards, nor where one fails."""
    before = torch.backends.cuda.matmul.allow_tf32
    allowed: dict[str, set[bool]] = {}

    class Look(Seen):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            allowed.setdefault(str(func), set()).add(torch.backends.cuda.matmul.allow_tf32)
            return func(*args, **(kwargs or {}))

    a, b = operands()
    with ExitStack() as entered:
        for mode in (Look(), ThreeProducts("cpu", least=0)):
            entered.enter_context(mode)
        torch.mv(a, (a @ b).sin()[0])
        with pytest.raises(RuntimeError):
            a @ b[:4]
        assert torch.backends.cuda.matmul.allow_tf32 is before
    assert torch.backends.cuda.matmul.allow_tf32 is before
    assert allowed["aten.mv.default"] == allowed["aten.sin.default"] == {before}
    assert allowed["aten.mm.default"] == {True}


def test_every_product_that_is_taken_is_known_to_the_played_tensor_cores() -> None:
    assert {func: at for func, (_, at) in PRODUCTS.items()}.items() <= LEFT.items()


def test_operands_are_forgotten_at_the_end() -> None:
    with ThreeProducts("cpu", least=0) as three:
        torch.randn(2, 64) @ torch.randn(64, 2)
        assert three._cuts._kept
    assert not three._cuts._kept
