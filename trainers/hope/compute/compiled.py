"""torch.compile of what a block computes between its residual sums; the results are those of eager code, up to rounding.

What is compiled is the pure part: a chunk of the memories, the continuum memory system, mixing, a transformer block.
Blocks of one shape share the compiled code. The loops over chunks and blocks stay in Python, so that the code does
not grow with the number of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from trainers.hope.blocks import HBlock, TBlock, UBlock
from trainers.hope.model import Predictor

VARIANTS = 64
"""Compiled forms of one function: with and without gradient, first and later chunk, teacher pass and jump."""


def compile_(model: Predictor) -> None:
    """Replace the functions of ``model``'s blocks by compiled ones; they compile when they are first called."""
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    for block in model.blocks:
        for module in _whole(block):
            module.forward = _compiled(module.forward)
        if isinstance(block, HBlock):
            block.titan.chunk = _compiled(block.titan.chunk)


def _whole(block: nn.Module) -> list[nn.Module]:
    if isinstance(block, TBlock):
        return [block.attention, block.mlp]
    if isinstance(block, UBlock):
        return [block.attention, block.cms]
    mixing = getattr(block, "mixing", None)
    return [block.cms] if mixing is None else [block.cms, mixing]


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, dynamic=False)
