"""Initialisation in one ordered pass over the whole model, the special ones last.

General: linear weights and memories N(0, .02) truncated at two deviations, biases 0, layer norms 1 and 0. A special
initialisation that came before it would be overwritten: so it is a function of its own, and the last that runs.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from specs.trainer_hope import HopeModel
from trainers.hope.blocks import TBlock, UBlock
from trainers.hope.mixing import SpatialMixing
from trainers.hope.model import Predictor
from trainers.hope.titan import MemoryParameters

STD = 0.02


def initialise(model: Predictor, settings: HopeModel, generator: torch.Generator) -> None:
    """All parameters of ``model``, drawn from ``generator``."""
    with torch.no_grad():
        if settings.special_init_last:
            _general(model, generator)
            _special(model, settings, generator)
        else:
            _special(model, settings, generator)
            _general(model, generator)
        _conditioning(model, settings, generator)


def _general(model: Predictor, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _truncated(module.weight, generator)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, MemoryParameters):
            _truncated(module.W1, generator)
            _truncated(module.W2, generator)
        elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            module.weight.fill_(1.0)
            module.bias.zero_()
    _rescale_depth(model)


def _rescale_depth(model: Predictor) -> None:
    """Projections of attention blocks over sqrt(2 layer), as in the V-JEPA 2 predictor."""
    for layer, block in enumerate(model.blocks, start=1):
        if isinstance(block, TBlock | UBlock):
            block.attention.proj.weight.div_(math.sqrt(2 * layer))
        if isinstance(block, TBlock):
            block.mlp.fc2.weight.div_(math.sqrt(2 * layer))


def _special(model: Predictor, settings: HopeModel, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, SpatialMixing):
            module.out.weight.zero_()
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0.0, settings.embedding_std, generator=generator)


def _conditioning(model: Predictor, settings: HopeModel, generator: torch.Generator) -> None:
    """Biases of the conditioning tokens: a correction of ours, which no order of the documented passes may undo."""
    for encoder in (model.action_encoder, model.state_encoder):
        if settings.conditioning_bias_std > 0:
            encoder.bias.normal_(0.0, settings.conditioning_bias_std, generator=generator)


def _truncated(weight: torch.Tensor, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(weight, std=STD, a=-2 * STD, b=2 * STD, generator=generator)
