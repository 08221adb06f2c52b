"""The gradient of one batch: computed as it is written, or replayed as one CUDA graph; its products as the settings say.

Memories are many small products in a row. A replay launches all kernels of forward and backward pass at once, so
that a fast GPU does not wait for Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from specs.products import Products
from specs.trainer_hope import HopeTrainer
from trainers.hope.compute.interception import ThreeProducts
from trainers.hope.draws import Draws
from trainers.hope.losses import Batch, Drops, Lost, lost
from trainers.hope.model import Predictor
from trainers.hope.observed import memory_metrics

WARM_UP = 3
"""Passes before a capture: libraries choose their algorithms, and a compiler compiles."""

Measured = Mapping[str, Tensor]
"""The parts of the loss and what the memories did: scalars on the device."""


class Step(Protocol):
    def __call__(self, batch: Batch, draws: Draws) -> Measured:
        """Add the gradient of the batch, over the number of batches in a step, to the parameters'."""
        ...


def step_for(model: Predictor, settings: HopeTrainer, device: torch.device) -> Step:
    """The step of a run on ``device``. Graphs need CUDA: elsewhere it is plain."""
    graphs = settings.compute.cuda_graphs and device.type == "cuda"
    return Graphed(model, settings) if graphs else Plain(model, settings)


def autocast(settings: HopeTrainer, device: torch.device) -> torch.autocast:
    """Products in the precision of the settings."""
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"
    )


def products_on(settings: HopeTrainer, device: torch.device) -> Products:
    """How a step there computes float32 products. Tensor cores need CUDA: elsewhere they are float32."""
    return settings.compute.products if device.type == "cuda" else Products.FLOAT32


def products(settings: HopeTrainer, device: torch.device) -> AbstractContextManager[object]:
    """float32 products inside, those of a backward pass too, are made as the settings say."""
    split = products_on(settings, device) is Products.TF32X3
    return ThreeProducts(device.type) if split else nullcontext()


def losses_of(model: Predictor, settings: HopeTrainer, batch: Batch, draws: Draws) -> Lost:
    with autocast(settings, batch.features.device):
        return lost(model, batch, settings.losses, draws.tau, draws.drops)


class Plain:
    """Every kernel launched from Python, on any device."""

    def __init__(self, model: Predictor, settings: HopeTrainer) -> None:
        self._model = model
        self._settings = settings

    def __call__(self, batch: Batch, draws: Draws) -> Measured:
        with products(self._settings, batch.features.device):
            result = losses_of(self._model, self._settings, batch, draws)
            (result.total / self._settings.accumulate).backward()
        return {**result.parts, **memory_metrics(self._model.blocks, result.records)}


@dataclass(frozen=True, kw_only=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    measured: Measured
    gradients: tuple[tuple[nn.Parameter, Tensor], ...]


class Graphed:
    """The same as `Plain` from one graph a shape of batch. What it returns holds until the next call."""

    def __init__(self, model: Predictor, settings: HopeTrainer) -> None:
        self._plain = Plain(model, settings)
        self._parameters = list(model.parameters())
        self._alone = settings.accumulate == 1
        self._captured: dict[tuple[torch.Size, ...], _Captured] = {}

    def __call__(self, batch: Batch, draws: Draws) -> Measured:
        given = _flat(batch, draws)
        shapes = tuple(t.shape for t in given)
        captured = self._captured.get(shapes)
        if captured is None:
            captured = self._captured[shapes] = self._capture(batch, draws)
        for static, new in zip(captured.inputs, given, strict=True):
            static.copy_(new, non_blocking=True)
        captured.graph.replay()
        for parameter, gradient in captured.gradients:
            if parameter.grad is not None:
                parameter.grad.add_(gradient)
            else:  # the next replay overwrites the graph's own: to be added to, it must be a copy
                parameter.grad = gradient if self._alone else gradient.clone()
        return captured.measured

    def _capture(self, batch: Batch, draws: Draws) -> _Captured:
        """Gradients that were there before are there again afterwards."""
        before = [p.grad for p in self._parameters]
        inputs = tuple(t.clone() for t in _flat(batch, draws))
        own_batch, own_draws = _unflat(inputs, draws)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._forget()
                self._plain(own_batch, own_draws)
            self._forget()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            measured = self._plain(own_batch, own_draws)
        gradients = tuple((p, p.grad) for p in self._parameters if p.grad is not None)
        for parameter, gradient in zip(self._parameters, before, strict=True):
            parameter.grad = gradient
        return _Captured(graph=graph, inputs=inputs, measured=measured, gradients=gradients)

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None


def _drops(draws: Draws) -> tuple[Tensor | None, ...]:
    return draws.drops.teacher, draws.drops.rollout, draws.drops.jump


def _flat(batch: Batch, draws: Draws) -> tuple[Tensor, ...]:
    given = (batch.features, batch.actions, batch.states, draws.tau)
    return (*given, *(drop for drop in _drops(draws) if drop is not None))


def _unflat(tensors: tuple[Tensor, ...], like: Draws) -> tuple[Batch, Draws]:
    features, actions, states, tau, *rest = tensors
    left = iter(rest)
    teacher, rollout, jump = (None if drop is None else next(left) for drop in _drops(like))
    drops = Drops(teacher=teacher, rollout=rollout, jump=jump)
    batch = Batch(features=features, actions=actions, states=states)
    return batch, Draws(tau=tau, drops=drops)
