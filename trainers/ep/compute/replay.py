"""A function of tensors as CUDA graphs: captured once per signature, replayed after that.

A small model spends its step launching kernels. A replay is one launch, whatever the function holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]

WARM_UP = 3
"""Calls before a capture: libraries choose their algorithms, and a compiler compiles."""


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Replay:
    """Call it like ``function``, without gradients. Arguments are copied in, so they may lie anywhere.

    The outputs are static: they hold until the next call with the same signature, and the caller clones what it
    keeps longer. The last ``resident`` arguments are read where they lie, and are part of the signature by their
    address: the static outputs of another Replay. Graphs of one ``pool`` share their temporary memory and must
    not run at the same time.
    """

    def __init__(
        self, function: Function, *, resident: int = 0, pool: tuple[int, int] | None = None
    ) -> None:
        self._function = function
        self._resident = resident
        self._pool = pool
        self._captured: dict[tuple[object, ...], _Captured] = {}

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        key = self._signature(arguments)
        captured = self._captured.get(key)
        if captured is None:
            captured = self._captured[key] = self._capture(arguments)
        for static, given in zip(captured.inputs, arguments, strict=True):
            if static.data_ptr() != given.data_ptr():
                static.copy_(given)
        captured.graph.replay()
        return captured.outputs

    def _signature(self, arguments: tuple[Tensor, ...]) -> tuple[object, ...]:
        moved = len(arguments) - self._resident
        shapes = tuple((t.shape, t.dtype, t.device) for t in arguments)
        return (*shapes, *(t.data_ptr() for t in arguments[moved:]))

    @torch.no_grad()
    def _capture(self, arguments: tuple[Tensor, ...]) -> _Captured:
        moved = len(arguments) - self._resident
        inputs = (*(t.detach().clone() for t in arguments[:moved]), *arguments[moved:])
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._function(*inputs)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = tuple(self._function(*inputs))
        return _Captured(graph, inputs, outputs)
