"""How a HOPE step is computed: what does not go together is told with its line and what is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specs.errors import SpecError
from specs.load import load_text
from specs.products import Products
from specs.trainer_hope import HopeTrainer

One = Callable[..., SpecError]


def campaign(trainer: str) -> str:
    lines = "\n".join(f"      {line}" for line in trainer.splitlines())
    return f"campaign: a\nruns:\n  r:\n    trainer:\n      kind: hope\n      steps: 1\n{lines}\n"


def read(trainer: str) -> HopeTrainer:
    found = load_text(campaign(trainer)).spec.runs["r"].trainer
    assert isinstance(found, HopeTrainer)
    return found


@pytest.mark.parametrize(
    ("trainer", "where", "allowed"),
    [
        ("compute: {products: 3xtf32}\nprecision: bfloat16", "compute.products", "precision bfloat16 leaves none"),
        ("compute: {products: 3xtf32, compile: true}", "compute.products", "leave compile off"),
        ("compute: {products: tf32}", "compute.products", "Use 3xtf32"),
        ("compute: {products: TF32}", "compute.products", "precision: bfloat16"),
        ("compute: {products: 3xtf23}", "compute.products", "float32, 3xtf32"),
    ],
)  # fmt: skip
def test_products_that_cannot_be_are_refused_with_the_reason(
    one: One, trainer: str, where: str, allowed: str
) -> None:
    error = one(campaign(trainer))
    assert error.where == f"runs.r.trainer.{where}"
    assert allowed in error.allowed
    assert error.line == 7


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ("precision: float32", Products.FLOAT32),
        ("compute: {products: float32, compile: true}", Products.FLOAT32),
        ("compute: {products: 3xtf32, cuda_graphs: true}", Products.TF32X3),
    ],
)
def test_products_are_float32_unless_told(trainer: str, expected: Products) -> None:
    assert read(trainer).compute.products is expected
