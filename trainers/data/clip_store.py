"""Where the features of clips are kept: on the disk or in the memory of a device; they are gathered alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.failure import CouldNotStart

HELD_FRACTION = 0.6
"""Of a GPU's free memory: what clips may take; the rest is for the training."""

_CHUNK = 64  # clips moved in one go


class BadClips(CouldNotStart):
    """Clips that cannot be trained on; the message names the clip and the field, and what to change."""


class Features(Protocol):
    """Features of N clips, (T, P, F) each."""

    @property
    def place(self) -> str:
        """``disk``, or the device that holds them."""
        ...

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, T, P, F)."""
        ...

    def gather(self, indices: NDArray[np.int64]) -> Tensor:
        """(B, T, P, F) of the stored type, where they are held."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskClips:
    """Clips of one task: ``impulses`` (N, 2) float32; ``sha256`` of all that determines them."""

    features: Features
    impulses: NDArray[np.float32]
    sha256: str
    origin: str

    def __len__(self) -> int:
        return len(self.impulses)


@dataclass(frozen=True, kw_only=True)
class OneFile:
    """All clips in one array that is mapped from a file."""

    array: NDArray[Any]
    place: str = "disk"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        N, T, P, F = self.array.shape
        return N, T, P, F

    def gather(self, indices: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.asarray(self.array[indices]))


@dataclass(frozen=True, kw_only=True)
class ManyFiles:
    """One file a clip. Each is mapped when it is looked at: thousands of them exceed the open files of a process."""

    files: Sequence[Path]
    clip: tuple[int, int, int]  # T, P, F
    place: str = "disk"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.files), *self.clip)

    def gather(self, indices: NDArray[np.int64]) -> Tensor:
        if not len(indices):
            return torch.empty((0, *self.clip))
        found = [self._read(self.files[index]) for index in indices]
        return torch.from_numpy(np.stack(found))

    def _read(self, path: Path) -> NDArray[Any]:
        try:
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)).reshape(self.clip)
        except (OSError, ValueError) as error:
            raise BadClips(
                f"{path} was there at the start and cannot be read now: {error}"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Held:
    """All clips in the memory of a device."""

    tensor: Tensor  # (N, T, P, F)

    @property
    def place(self) -> str:
        return str(self.tensor.device)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        N, T, P, F = self.tensor.shape
        return N, T, P, F

    def gather(self, indices: NDArray[np.int64]) -> Tensor:
        return self.tensor[torch.from_numpy(indices).to(self.tensor.device)]


def held(clips: Mapping[str, TaskClips], device: torch.device) -> Mapping[str, TaskClips]:
    """The same clips in the memory of a GPU, task after task as long as they fit; as they are for the CPU."""
    if device.type != "cuda":
        return clips
    return {
        task: replace(found, features=_move(found.features, device))
        for task, found in clips.items()
    }


def room(device: torch.device) -> int:
    """Bytes of a GPU that clips may take now."""
    return int(torch.cuda.mem_get_info(device)[0] * HELD_FRACTION)


def _move(features: Features, device: torch.device) -> Features:
    N = features.shape[0]
    stored = features.gather(np.zeros(1, np.int64)).dtype
    size = stored.itemsize * int(np.prod(features.shape, dtype=np.int64))
    if isinstance(features, Held) or size > room(device):
        return features
    tensor = torch.empty(features.shape, dtype=stored, device=device)
    for begin in range(0, N, _CHUNK):
        some = np.arange(begin, min(begin + _CHUNK, N), dtype=np.int64)
        tensor[begin : begin + len(some)] = features.gather(some).to(device)
    return Held(tensor=tensor)
