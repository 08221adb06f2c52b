"""Clips of a puck, from settings to features: drawn, moved, rendered and encoded, some at a time.

A clip depends on the seed, its task and its number alone, not on how many there are or how they are made together.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specs.data_clips import TASKS, PuckData
from trainers.data.clip_store import BadClips, Features, Held, OneFile, TaskClips, room
from trainers.data.puck import encoder as encoders
from trainers.data.puck.encoder import TUBELET, Encoder
from trainers.data.puck.parameters import Pucks, Table, draw, ranges_with
from trainers.data.puck.physics import simulate
from trainers.data.puck.render import Scene, render, scene, table_of

RECIPE = 1
"""To be raised whenever any clip changes: checkpoints know their data by it."""

SHORTEST_SIDE, SMALLEST_PATCH = 64, 8
"""Pixels of the picture, and of a patch, at the least."""

_KNOWN = 8  # clips of each task that the encoder is calibrated on
_MOST_PIXELS = 1 << 23  # of clips made together
_PIXELS_AT_ONCE = {
    "cpu": 1 << 18,
    "cuda": 1 << 23,
}  # rendered together: what a cache, or a GPU, likes best

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Studio:
    """All that clips are made with, on one device."""

    settings: PuckData
    table: Table
    encoder: Encoder
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        rows, columns = self.settings.grid
        return rows * self.encoder.patch, columns * self.encoder.patch

    @property
    def at_once(self) -> int:
        """Clips whose motion is computed together."""
        return max(1, _MOST_PIXELS // self._pixels)

    @property
    def _pixels(self) -> int:
        """Of a clip."""
        return self.size[0] * self.size[1] * TUBELET * self.settings.frames

    def features(self, task: str, clips: Indices) -> Tensor:
        """(N, frames, P, F) float16 on the device."""
        pucks = pucks_of(self.settings, task, clips, self.table)
        with torch.inference_mode():
            of = self.settings
            whole = _scene(pucks, self.table, of.frames, self.device, stills=of.stills)
            parts = whole.parts(max(1, _PIXELS_AT_ONCE[self.device.type] // self._pixels))
            return torch.cat(
                [self.encoder(render(part, self.table, self.size)).half() for part in parts]
            )

    def all_features(self, task: str, count: int) -> Iterator[tuple[Indices, Tensor]]:
        """Clips 0 to ``count`` - 1, a chunk after another."""
        for begin in range(0, count, self.at_once):
            some = np.arange(begin, min(begin + self.at_once, count), dtype=np.int64)
            yield some, self.features(task, some)


def studio(settings: PuckData, device: torch.device) -> Studio:
    """The encoder is drawn and calibrated on the CPU, whatever the device."""
    patch, table = patch_of(settings.grid), table_of(settings.grid)
    size = (settings.grid[0] * patch, settings.grid[1] * patch)
    clips = np.arange(_KNOWN, dtype=np.int64)
    cpu = torch.device("cpu")
    known = (
        pictures(
            pucks_of(settings, task, clips, table),
            table,
            settings.frames,
            size,
            cpu,
            stills=settings.stills,
        )
        for task in TASKS
    )
    with torch.inference_mode():
        encoder = encoders.build(
            settings.seed, settings.grid, patch, settings.feature_width, settings.feature_std, known
        )
    return Studio(settings=settings, table=table, encoder=encoder.to(device), device=device)


def pictures(
    pucks: Pucks,
    table: Table,
    frames: int,
    size: tuple[int, int],
    device: torch.device,
    *,
    stills: bool = False,
) -> Tensor:
    """(N, 2 frames, 3, H, W) of colours in [0, 1]; ``size`` is (H, W)."""
    return render(_scene(pucks, table, frames, device, stills=stills), table, size)


def pucks_of(settings: PuckData, task: str, clips: Indices, table: Table) -> Pucks:
    """The parameters of clips of a task."""
    return draw(settings.seed, task, clips, table, ranges_with(settings.ranges.given()))


def _scene(pucks: Pucks, table: Table, frames: int, device: torch.device, *, stills: bool) -> Scene:
    path = simulate(pucks, table, TUBELET * frames)
    return scene(pucks, path.held(TUBELET) if stills else path, device)


def patch_of(grid: tuple[int, int]) -> int:
    """Pixels of a patch's side."""
    return max(SMALLEST_PATCH, -(-SHORTEST_SIDE // min(grid)))


def count_of(settings: PuckData, task: str) -> int:
    """Clips of a task."""
    return settings.clips if task == "base" else settings.task_clips


def make(
    settings: PuckData, tasks: Sequence[str], cache: Path, device: torch.device
) -> Mapping[str, TaskClips]:
    """The clips of tasks: held in a GPU's memory, or mapped from files in ``cache`` for the CPU.

    Raises BadClips where they do not fit on the GPU.
    """
    made: Studio | None = None
    found: dict[str, TaskClips] = {}

    def with_studio() -> Studio:
        nonlocal made
        made = made or studio(settings, device)
        return made

    for task in tasks:
        count = count_of(settings, task)
        features: Features
        if device.type == "cuda":
            features = _held(with_studio(), task, count)
        else:
            features = _cached(settings, task, count, cache, with_studio)
        table = table_of(settings.grid)
        pucks = pucks_of(settings, task, np.arange(count, dtype=np.int64), table)
        found[task] = TaskClips(
            features=features,
            impulses=pucks.impulse.astype(np.float32),
            sha256=identity(settings, task, count),
            origin=f"puck, seed {settings.seed}",
        )
    return found


def identity(settings: PuckData, task: str, count: int) -> str:
    """sha256 of what determines the clips of a task, the same on every device."""
    of = {
        "recipe": RECIPE,
        "task": task,
        "clips": count,
        **{
            name: getattr(settings, name)
            for name in ("grid", "feature_width", "frames", "feature_std", "seed")
        },
        # named only where they are used: clips made before there was a choice are known as before
        **({"ranges": ranges} if (ranges := settings.ranges.given()) else {}),
        **({"stills": True} if settings.stills else {}),
    }
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def _shape(settings: PuckData, count: int) -> tuple[int, int, int, int]:
    return count, settings.frames, settings.grid[0] * settings.grid[1], settings.feature_width


def _held(by: Studio, task: str, count: int) -> Held:
    shape = _shape(by.settings, count)
    size = 2 * int(np.prod(shape, dtype=np.int64))
    if size > room(by.device):
        raise BadClips(
            f"{count} clips of task {task} take {size / 2**30:.1f} GiB, for which {by.device} has no room; "
            "fewer of them (trainer.data.clips, trainer.data.task_clips), or write them with `campaign data make` "
            "and give the folder (trainer.data.path)"
        )
    tensor = torch.empty(shape, dtype=torch.float16, device=by.device)
    for some, features in by.all_features(task, count):
        tensor[some[0] : some[-1] + 1] = features
    return Held(tensor=tensor)


def _cached(
    settings: PuckData, task: str, count: int, cache: Path, by: Callable[[], Studio]
) -> OneFile:
    """Several processes may do this at once: the last one's file stays, and all files are alike."""
    name = hashlib.sha256(f"{identity(settings, task, count)} {_source()}".encode()).hexdigest()
    path = cache / f"puck-{task}-{name[:32]}.npy"
    if not path.exists():
        _write(path, _shape(settings, count), by().all_features(task, count))
    return OneFile(array=np.load(path, mmap_mode="r", allow_pickle=False))


def _write(
    path: Path, shape: tuple[int, int, int, int], chunks: Iterator[tuple[Indices, Tensor]]
) -> None:
    """Whole under its name, or not there at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    os.close(handle)
    try:
        array = np.lib.format.open_memmap(name, mode="w+", dtype=np.float16, shape=shape)
        for some, features in chunks:
            array[some[0] : some[-1] + 1] = features.cpu().numpy()
        array.flush()
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _source() -> str:
    """Of the code that makes clips: while it is being changed, nothing stale is taken from the cache."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join(f.read_bytes() for f in sorted(folder.glob("*.py")))).hexdigest()
