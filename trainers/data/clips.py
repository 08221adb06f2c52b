"""Clips of video features with actions, task by task: from a folder, or of a puck made on the spot.

    source = load(settings, seed, cache, device="cuda", tasks=("base", "scaling"), held_out=100)
    batch = source.batch("base", source.train("base")[:16])

Clips of a task are numbered from 0. The last ``held_out`` of them are for judging only; of the others
``validation_fraction``, drawn by the seed, is for validation and the rest for training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from specs.data_clips import TASKS, AnyClips, ClipData, PuckData
from trainers.data import clip_folder
from trainers.data.clip_store import BadClips, TaskClips, held
from trainers.data.puck import clips as puck_clips
from trainers.hope.losses import Batch

Indices = NDArray[np.int64]


class ClipSource:
    """Clips of one or more tasks. What it gives is a pure function of its arguments and of `sha256`."""

    def __init__(
        self,
        clips: Mapping[str, TaskClips],
        *,
        settings: AnyClips,
        seed: int,
        device: torch.device,
        held_out: int,
    ) -> None:
        self._clips = dict(clips)
        self._device = device
        self._held_out = held_out
        self._settings = settings
        self._parts = {
            task: _parts(task, len(found), settings.validation_fraction, held_out, seed)
            for task, found in clips.items()
        }

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order in which they are learnt, base first."""
        return tuple(self._clips)

    @property
    def sha256(self) -> str:
        """Of all that determines the clips; two sources with the same one give the same batches."""
        text = "".join(f"{task} {found.sha256}\n" for task, found in self._clips.items())
        return hashlib.sha256(text.encode()).hexdigest()

    def batch(self, task: str, indices: Sequence[int] | Indices) -> Batch:
        """Clips by their numbers: float32 on the device that was asked for.

        ``features`` (B, frames, P, F); ``actions`` (B, frames - 1, 2), zero but for the impulse at index 0;
        ``states`` (B, frames - 1, 2), zero. Raises BadClips for a task or a number that is not there.
        """
        clips = self._of(task)
        chosen = np.asarray(indices, np.int64)
        if chosen.size and not 0 <= chosen.min() <= chosen.max() < len(clips):
            raise BadClips(
                f"task {task} has the clips 0 to {len(clips) - 1}; asked for "
                f"{chosen.min()} to {chosen.max()}"
            )
        impulses = torch.from_numpy(clips.impulses[chosen]).to(self._device, torch.float32)
        actions = impulses.new_zeros((len(chosen), self._settings.frames - 1, 2))
        actions[:, 0] = impulses
        features = clips.features.gather(chosen).to(self._device, torch.float32)
        return Batch(features=features, actions=actions, states=torch.zeros_like(actions))

    def train(self, task: str) -> Indices:
        """Numbers of the clips to learn from, in rising order."""
        return self._part(task)["train"]

    def validation(self, task: str) -> Indices:
        """Numbers of the clips to watch the learning by, in rising order; none of them trains."""
        return self._part(task)["validation"]

    def held_out(self, task: str, count: int) -> Indices:
        """The last ``count`` clips. Raises BadClips for more than `load` was told to hold out."""
        if not 1 <= count <= self._held_out:
            raise BadClips(
                f"{count} held-out clips asked for, {self._held_out} are held out "
                "(trainer.continual.held_out)"
            )
        return self._part(task)["held_out"][-count:]

    def describe(self) -> Mapping[str, Any]:
        """What the clips are, where they lie, how they are cut, and by which hash they are known."""
        return {
            "clips": self._settings.kind,
            "clips_sha256": self.sha256,
            "grid": list(self._settings.grid),
            "feature_width": self._settings.feature_width,
            "frames": self._settings.frames,
            "device": str(self._device),
            "tasks": {
                task: {
                    "clips": len(found),
                    "from": found.origin,
                    "held_in": found.features.place,
                    **{name: len(part) for name, part in self._parts[task].items()},
                }
                for task, found in self._clips.items()
            },
        }

    def _of(self, task: str) -> TaskClips:
        self._part(task)
        return self._clips[task]

    def _part(self, task: str) -> Mapping[str, Indices]:
        if task not in self._parts:
            raise BadClips(
                f"the task {task!r} has no clips here; tasks with clips: {', '.join(self.tasks)}"
            )
        return self._parts[task]


def load(
    settings: AnyClips,
    seed: int,
    cache: Path,
    device: str | torch.device = "cpu",
    *,
    tasks: Sequence[str] | None = None,
    held_out: int = 0,
) -> ClipSource:
    """Open or make the clips of ``tasks``, of all that there are if left out.

    On a GPU the features are held in its memory, as they are stored, where they fit. ``cache`` keeps what was made on
    the CPU, and which folders were read through. Raises BadClips naming the clip and what is wrong with it, or
    the task that has no clips.
    """
    where = torch.device(device)
    wanted = None if tasks is None else tuple(dict.fromkeys(tasks))
    if isinstance(settings, PuckData) and settings.path is None:
        clips = puck_clips.make(settings, _known(wanted), cache, where)
    else:
        found = clip_folder.load(_folder(settings), wanted, cache)
        clips = held(found, where)
    return ClipSource(clips, settings=settings, seed=seed, device=where, held_out=held_out)


def default_cache() -> Path:
    """Where this user's clips are kept; whatever lies there may be deleted."""
    return user_cache_path("campaign") / "clips"


def _known(tasks: Sequence[str] | None) -> tuple[str, ...]:
    unknown = sorted(set(tasks or ()) - set(TASKS))
    if unknown:
        raise BadClips(
            f"the puck has no task {', '.join(map(repr, unknown))}; it has {', '.join(TASKS)} "
            "(trainer.continual.tasks)"
        )
    return TASKS if tasks is None else tuple(tasks)


def _folder(settings: AnyClips) -> ClipData:
    """Clips of a puck that lie in a folder are read like any others."""
    if isinstance(settings, ClipData):
        return settings
    assert settings.path is not None
    return ClipData(
        kind="clips",
        path=settings.path,
        grid=settings.grid,
        feature_width=settings.feature_width,
        frames=settings.frames,
        clips=settings.clips,
        task_clips=settings.task_clips,
        validation_fraction=settings.validation_fraction,
    )


def _parts(
    task: str, clips: int, fraction: float, held_out: int, seed: int
) -> Mapping[str, Indices]:
    """Disjoint parts that make up all clips; validation and training have at least one each."""
    rest = clips - held_out
    if rest < 2:
        raise BadClips(
            f"task {task} has {clips} clips, of which {held_out} are held out: the rest must be 2 or more, to "
            "train and to validate (trainer.data.clips, trainer.data.task_clips, trainer.continual.held_out)"
        )
    count = min(max(1, round(rest * fraction)), rest - 1)
    key = int.from_bytes(hashlib.sha256(f"{seed} {task}".encode()).digest()[:8], "little")
    # raw Philox words, whose sequence numpy promises never to change: the order that they sort into
    order = np.argsort(np.random.Philox(key=key).random_raw(rest), kind="stable").astype(np.int64)
    return {
        "train": np.sort(order[count:]),
        "validation": np.sort(order[:count]),
        "held_out": np.arange(rest, clips, dtype=np.int64),
    }
