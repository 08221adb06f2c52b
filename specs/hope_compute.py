"""How the arithmetic of a HOPE step is carried out."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from specs.base import Model, word
from specs.errors import WrongField
from specs.products import Products


def _products(value: object) -> object:
    """TF32 is a word that is meant, not a slip: refused with what there is in its place."""
    if isinstance(value, str) and value.lower() == "tf32":
        raise ValueError(
            "TF32 alone keeps 10 bits of 23. Use 3xtf32 (about float32's accuracy), or precision: bfloat16"
        )
    return value


class HopeCompute(Model):
    """What makes a training step faster without changing what it computes, but for rounding."""

    compile: bool = Field(
        default=False, description="torch.compile of memories, levels, mixing and attention"
    )
    cuda_graphs: bool = Field(
        default=False,
        description="replay the gradient of a batch as one CUDA graph, where there is CUDA",
    )
    products: Annotated[Products, word(Products), BeforeValidator(_products)] = Field(
        default=Products.FLOAT32, description="of a training step, where there is CUDA"
    )

    @model_validator(mode="after")
    def _products_within_reach(self) -> HopeCompute:
        if self.compile and self.products is not Products.FLOAT32:
            raise WrongField(
                ("products", "compile"),
                f"products {self.products.value} are made of those that eager code asks for, which torch.compile "
                "leaves no way to: leave compile off, or products at float32",
            )
        return self
