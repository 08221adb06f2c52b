"""Clips of earlier tasks, kept in a buffer of fixed size and mixed into the batches of later ones.

Every task that is over has the same share of the buffer. What is kept of a task is the beginning of a random order of
its clips, so that a share that shrinks stays a random sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

Kept = Mapping[str, tuple[int, ...]]
"""Numbers of the clips kept, by task, in the order in which the tasks were learnt."""


def grown(
    kept: Kept, task: str, clips: Sequence[int], capacity: int, source: torch.Generator
) -> dict[str, tuple[int, ...]]:
    """The buffer once ``task``, with its training ``clips``, is over; at most ``capacity`` in all."""
    share = capacity // (len(kept) + 1)
    order = torch.randperm(len(clips), generator=source).tolist()
    new = tuple(int(clips[i]) for i in order[:share])
    return {**{name: numbers[:share] for name, numbers in kept.items()}, task: new}


def drawn(kept: Kept, count: int, source: torch.Generator) -> list[tuple[str, int]]:
    """(task, clip) of ``count`` clips of the buffer, each as likely as any other, with repetition."""
    every = [(task, clip) for task, clips in kept.items() for clip in clips]
    chosen = torch.randint(len(every), (count,), generator=source).tolist()
    return [every[i] for i in chosen]
