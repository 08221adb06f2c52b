"""Batches of clips: each a pure function of settings, phase, step and replay buffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from specs.trainer_hope import HopeTrainer
from trainers.draws import generator
from trainers.hope.continual.protocol import Phase
from trainers.hope.continual.replay import Kept, drawn
from trainers.hope.draws import Purpose
from trainers.hope.losses import Batch

Item = tuple[str, int]
"""A clip: its task, and its number there."""


class ClipSource(Protocol):
    """What `trainers.data.clips.load` gives. Clips of a task are numbered; the three parts are disjoint."""

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def sha256(self) -> str: ...

    def batch(self, task: str, indices: Sequence[int]) -> Batch: ...

    def train(self, task: str) -> Sequence[int]: ...

    def validation(self, task: str) -> Sequence[int]: ...

    def held_out(self, task: str, count: int) -> Sequence[int]: ...

    def describe(self) -> Mapping[str, Any]: ...


class Feed:
    """Where the batches of a run come from."""

    def __init__(self, source: ClipSource, settings: HopeTrainer, device: torch.device) -> None:
        self._source = source
        self._settings = settings
        self._device = device
        self._order: tuple[tuple[int, int], list[int]] | None = None
        self._pool: tuple[int, list[Item]] | None = None

    def batch(self, phase: Phase, number: int, at: int, step: int, part: int, kept: Kept) -> Batch:
        """Batch ``part`` of step ``at`` of a phase, which is training step ``step`` of the run.

        An epoch is a random order of the phase's clips; a batch may reach from one into the next.
        """
        pool = self._clips(phase, number)
        first = (at * self._settings.accumulate + part) * phase.fresh
        items = [self._item(pool, number, place) for place in range(first, first + phase.fresh)]
        count = self._settings.batch - phase.fresh
        if count:
            source = generator(self._settings.seed, step, Purpose.REPLAY, index=part)
            items += drawn(kept, count, source)
        return self.gather(items)

    def _clips(self, phase: Phase, number: int) -> list[Item]:
        """All that the phase learns from, apart from what is replayed."""
        if self._pool is None or self._pool[0] != number:
            items = [(task, int(i)) for task in phase.tasks for i in self._source.train(task)]
            self._pool = number, items
        return self._pool[1]

    def _item(self, pool: Sequence[Item], number: int, place: int) -> Item:
        epoch, within = divmod(place, len(pool))
        if self._order is None or self._order[0] != (number, epoch):
            source = generator(self._settings.seed, epoch, Purpose.ORDER, index=number)
            self._order = (number, epoch), torch.randperm(len(pool), generator=source).tolist()
        return pool[self._order[1][within]]

    def validation(self, tasks: Sequence[str]) -> list[Batch]:
        """The first clips of the validation parts, as many of each task, in batches."""
        share = max(1, self._settings.validation.clips // len(tasks))
        items = [(task, int(i)) for task in tasks for i in self._source.validation(task)[:share]]
        return self._batches(items)

    def held_out(self, task: str) -> list[Batch]:
        """The clips of a task that nothing ever learns from."""
        assert self._settings.continual is not None  # only a protocol judges
        count = self._settings.continual.held_out
        return self._batches([(task, int(i)) for i in self._source.held_out(task, count)])

    def _batches(self, items: Sequence[Item]) -> list[Batch]:
        size = self._settings.batch
        return [self.gather(items[i : i + size]) for i in range(0, len(items), size)]

    def gather(self, items: Sequence[Item]) -> Batch:
        """The clips in the order of ``items``, on the device, with as many frames as the context asks for."""
        by_task: dict[str, list[int]] = {}
        for place, (task, _) in enumerate(items):
            by_task.setdefault(task, []).append(place)
        parts = [
            self._source.batch(task, [items[place][1] for place in places])
            for task, places in by_task.items()
        ]
        places = [place for places in by_task.values() for place in places]
        back = torch.argsort(torch.tensor(places))
        context = self._settings.context

        def joined(tensors: Sequence[torch.Tensor], frames: int) -> torch.Tensor:
            whole = torch.cat(list(tensors)) if len(tensors) > 1 else tensors[0]
            ordered = whole[back.to(whole.device)] if len(tensors) > 1 else whole
            return ordered[:, :frames].to(self._device, torch.float32, non_blocking=True)

        return Batch(
            features=joined([part.features for part in parts], context + 1),
            actions=joined([part.actions for part in parts], context),
            states=joined([part.states for part in parts], context),
        )
