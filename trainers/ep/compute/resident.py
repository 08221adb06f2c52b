"""The tensors of a block and of its linearisation, by name: what a graph reads where it lies."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from trainers.ep.block import Folded

ABSENT: dict[str, Any] = {"qk_scale": None, "gain": None}
"""Factors that a graphed Jacobian may lack."""


def tensor_names(of: Folded) -> tuple[str, ...]:
    return tuple(f.name for f in fields(of) if isinstance(getattr(of, f.name), Tensor))


def tensors(of: Folded) -> tuple[Tensor, ...]:
    return tuple(getattr(of, name) for name in tensor_names(of))


def with_tensors(block: Folded, names: tuple[str, ...], values: tuple[Tensor, ...]) -> Folded:
    """``block`` holding other tensors under ``names``."""
    return replace(block, **dict(zip(names, values, strict=True)))


def factor_names(block: Folded) -> tuple[str, ...]:
    """The tensors of a Linearisation without noise, in order."""
    names = ("x_hat", "rstd", "qk", "qk_scale", "v", "P", "slope")
    return names if block.qk_norm else tuple(name for name in names if name != "qk_scale")
