"""Levels of the continuum memory system that are updated every k-th step, with the sum of their gradients.

This is what the paper's frequencies mean (Behrouz et al., arXiv 2512.24695, equations 31 and 71): slow levels change
rarely, in the outer loop. What is summed so far is part of a checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from specs.trainer_hope import ContinuumMemory
from trainers.hope.groups import level_of


class HeldLevels:
    """Keeps the gradients of slow levels back until their step has come."""

    def __init__(self, model: nn.Module, settings: ContinuumMemory) -> None:
        every = settings.update_every
        self._slow = {
            name: (parameter, every[level])
            for name, parameter in model.named_parameters()
            if (level := level_of(name)) is not None and every and every[level] > 1
        }
        self.held: dict[str, Tensor] = {}

    def names(self) -> frozenset[str]:
        """Parameters whose gradients may be held."""
        return frozenset(self._slow)

    @torch.no_grad()
    def gate(self, step: int, *, last: bool) -> None:
        """Turn the gradients of training step ``step`` (from 0) of a phase into what is to be applied now.

        The ``last`` step of a phase applies all that is held.
        """
        for name, (parameter, every) in self._slow.items():
            held = self.held.pop(name, None)
            if held is not None:
                parameter.grad = held if parameter.grad is None else held + parameter.grad
            if last or (step + 1) % every == 0 or parameter.grad is None:
                continue
            # a copy: the next replay of a CUDA graph overwrites the gradient that it has left
            self.held[name], parameter.grad = parameter.grad.clone(), None
