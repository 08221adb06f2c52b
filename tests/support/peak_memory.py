"""How many bytes of tensors are alive at most, on any device: a CPU has no allocator statistics."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts the storage of every tensor that an operator inside gives, once, until it is freed.

    Backward passes on the CPU count, with what they recompute; the inside of an operator does not. Storages of
    ``held`` are there anyway and are left out.
    """

    def __init__(self, held: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self._known = {t.untyped_storage()._cdata for t in held}
        self.now = 0
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        weakref.finalize(storage, self._freed, key, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
