"""Products of three TF32 ones on real tensor cores: float32's accuracy, eager and as a CUDA graph, and no TF32 elsewhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from specs.trainer_hope import HopeTrainer
from tests.bench.hope_models import Scale, problem, settings_of
from tests.trainers.hope import small
from trainers.hope.compute import step as step_module
from trainers.hope.compute.interception import ThreeProducts
from trainers.hope.compute.step import Graphed, Plain
from trainers.hope.compute.three_products import Cuts, product, stacks
from trainers.hope.draws import Draws
from trainers.hope.losses import Batch, Drops
from trainers.hope.model import Predictor
from trainers.hope.trainer import build
from trainers.tf32 import tensor_cores

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda")
TOKENS = 28_896  # 16 clips of 7 frames of 258


@pytest.fixture(autouse=True)
def float32_products() -> None:
    torch.set_float32_matmul_precision("highest")


def gap(ours: Tensor, exact: Tensor) -> float:
    return float((ours.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.parametrize(
    ("shape", "lies"),
    [
        ((0, TOKENS, 384, 1536), "as it is"),
        ((0, TOKENS, 1536, 384), "transposed"),
        ((0, 384, TOKENS, 1536), "transposed"),
        ((0, 1536, TOKENS - 1, 384), "as it is"),
        ((4, 4128, 384, 768), "one for all"),
        ((5, 384, 4128, 768), "transposed"),
        ((0, 43_008, 258, 258), "as it is"),
    ],
)
def test_a_product_of_the_documented_sizes_is_a_float32_one(
    shape: tuple[int, int, int, int], lies: str
) -> None:
    B, M, K, N = shape
    lead = (B,) if B else ()
    a = torch.randn(*lead, K, M, device=GPU).mT if lies == "transposed" else None
    if a is None:
        a = torch.randn(*(() if lies == "one for all" else lead), M, K, device=GPU)
    a = a.expand(*lead, M, K)
    b = torch.randn(*lead, K, N, device=GPU)
    exact = a.double() @ b.double()
    with tensor_cores():
        fine, coarse = product(a, b, Cuts()), a @ b
    assert gap(coarse, exact) > 5e-5
    assert gap(fine, exact) <= 1e-5


def test_the_forms_are_both_among_them() -> None:
    assert stacks(TOKENS, 384, 1536)
    assert not stacks(TOKENS, 1536, 384)


def gradient(model: Predictor, batch: Batch) -> Tensor:
    """Of what is predicted, weighted at random, and of the auxiliary loss: all of it, behind the prediction itself."""
    dtype = model.embed.weight.dtype
    given = batch.inputs()
    clips = type(given)(**{name: t.to(dtype) for name, t in vars(given).items()})
    passed = model(clips, auxiliary=True)
    weight = torch.randn(
        passed.features.shape, device=GPU, generator=torch.Generator(GPU).manual_seed(0)
    )
    ((passed.features * weight.to(dtype)).sum() / len(weight) + passed.aux).backward()
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return torch.cat([passed.features.detach().flatten(), *found]).double()


@pytest.mark.parametrize("of", ["D0", "ViT-24"])
def test_a_step_at_the_documented_width_is_as_exact_as_a_float32_one(of: str) -> None:
    settings = settings_of(Scale(samples=4, depth=2), of, {"losses": {"auxiliary": 0.1}})
    model, batch, _ = problem(settings, GPU)
    plain = gradient(model, batch)
    with ThreeProducts() as three:
        fine = gradient(model, batch)
    exact = gradient(model.double(), batch)
    assert three.taken > 0
    assert gap(fine, exact) <= max(1e-5, 3 * gap(plain, exact))


def test_the_mode_reaches_the_backward_pass_on_the_thread_of_the_device() -> None:
    model = small.predictor(small.settings(pattern="HTU"), dtype=torch.float32).to(GPU)
    batch = moved(small.batch(dtype=torch.float32))
    with ThreeProducts(least=0) as three:
        total = model(batch.inputs()).features.square().mean()
        forward = three.taken
        total.backward()
    assert three.taken > 1.5 * forward > 0


def moved(batch: Batch) -> Batch:
    return Batch(**{name: t.to(GPU) for name, t in vars(batch).items()})


def settings_with(products: str, graphs: bool, **more: Any) -> HopeTrainer:
    compute = {"products": products, "cuda_graphs": graphs}
    return small.trainer(device="cuda", compute=compute, **more)


@pytest.fixture
def all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of any size are made of three: those of small nets are not worth it."""
    monkeypatch.setattr(step_module, "ThreeProducts", partial(ThreeProducts, least=0))


@pytest.mark.usefixtures("all_taken")
@pytest.mark.parametrize("graphs", [True, False], ids=["graphed", "eager"])
@pytest.mark.parametrize("recomputed", [True, False], ids=["recomputed blocks", "kept"])
def test_a_step_of_three_products_leaves_the_gradient_of_float32_ones(
    graphs: bool, recomputed: bool
) -> None:
    model_fields = {"pattern": "HTUH", "checkpoint_blocks": recomputed, "drop_path": 0.0}
    found = {}
    for products in ("3xtf32", "float32"):
        settings = settings_with(products, graphs, model=model_fields)
        model = small.trained(small.predictor(settings.model, dtype=torch.float32), 0.1).to(GPU)
        step = (Graphed if graphs else Plain)(model, settings)
        draws = Draws(tau=torch.tensor([3, 4], device=GPU), drops=Drops())
        measured = step(moved(small.batch(dtype=torch.float32)), draws)
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found[products] = torch.cat([measured["loss/total"][None], *grads]).clone()
    assert not torch.equal(found["3xtf32"], found["float32"])
    assert gap(found["3xtf32"], found["float32"]) <= 1e-5


@pytest.mark.usefixtures("all_taken")
def test_after_a_step_products_are_float32_again() -> None:
    a, b = torch.randn(512, 512, device=GPU), torch.randn(512, 512, device=GPU)
    before = a @ b
    run = build(settings_with("3xtf32", True), small.Clips(), device=GPU)
    for _ in range(2):
        run.advance()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.equal(a @ b, before)


@pytest.mark.usefixtures("all_taken")
def test_a_run_of_three_products_takes_the_steps_of_a_float32_one() -> None:
    fields = {"model": {"pattern": "HTH", "drop_path": 0.1}}
    runs = [
        build(settings_with(products, True, **fields), small.Clips(), device=GPU)
        for products in ("3xtf32", "float32")
    ]
    assert runs[0].describe()["products"] == "3xtf32"
    for _ in range(8):
        split, plain = (run.advance() for run in runs)
        assert split["loss/total"] == pytest.approx(plain["loss/total"], rel=1e-4)
        assert split["train/grad_norm"] == pytest.approx(plain["train/grad_norm"], rel=1e-3)
