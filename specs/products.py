"""How float32 matrix products are computed on a GPU: a word that both trainers have."""

from __future__ import annotations

from enum import StrEnum


class Products(StrEnum):
    """float32 ones, as a GPU computes them."""

    FLOAT32 = "float32"
    TF32X3 = "3xtf32"  # three TF32 products; about float32's accuracy
