"""Laws of batches: what a step gets depends on nothing but its number."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from tests.trainers.hope import small
from trainers.hope.continual.protocol import plan, tasks_of
from trainers.hope.draws import draws_of
from trainers.hope.feed import Feed
from trainers.hope.losses import Batch

CPU = torch.device("cpu")
PROTOCOL: dict[str, Any] = {"tasks": ["a"], "base_epochs": 3, "task_epochs": 2, "held_out": 4}


class Spy(small.Clips):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.asked: list[tuple[str, int]] = []

    def batch(self, task: str, indices: Any) -> Batch:
        self.asked += [(task, int(i)) for i in indices]
        return super().batch(task, indices)


def fed(kept: Any = None, **more: Any) -> tuple[list[list[tuple[str, int]]], Any]:
    """The clips of every batch of every phase, in order."""
    settings = small.trainer(continual={**PROTOCOL, **more.pop("continual", {})}, **more)
    source = Spy(tasks_of(settings))
    phases = plan(settings, {task: len(source.train(task)) for task in source.tasks})
    feed, batches = Feed(source, settings, CPU), []
    for number, phase in enumerate(phases):
        for at in range(phase.steps):
            for part in range(settings.accumulate):
                source.asked.clear()
                feed.batch(phase, number, at, 100 * number + at, part, kept or {})
                batches.append(list(source.asked))
    return batches, phases


def test_every_clip_is_seen_once_in_an_epoch() -> None:
    batches, phases = fed(batch=3)
    assert [p.steps for p in phases] == [18, 12]
    epochs = [Counter(i for b in batches[6 * e : 6 * e + 6] for i in b) for e in range(5)]
    assert all(set(epoch.values()) == {1} and len(epoch) == 18 for epoch in epochs)
    assert batches[:6] != batches[6:12]


def test_accumulated_batches_go_on_where_the_one_before_ended() -> None:
    single, _ = fed(batch=6)
    parts, _ = fed(batch=3, accumulate=2)
    assert [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)] == single


def test_a_batch_does_not_depend_on_what_was_fed_before() -> None:
    settings = small.trainer(continual=PROTOCOL)
    source = small.Clips(tasks_of(settings))
    phases = plan(settings, dict.fromkeys(source.tasks, 18))
    straight, fresh = Feed(source, settings, CPU), Feed(source, settings, CPU)
    for at in range(9):
        expected = straight.batch(phases[1], 1, at, at, 0, {})
    assert torch.equal(fresh.batch(phases[1], 1, 8, 8, 0, {}).features, expected.features)


def test_clips_of_several_tasks_keep_their_order() -> None:
    source = small.Clips(("base", "a"))
    settings = small.trainer(continual=PROTOCOL)
    items = [("a", 3), ("base", 5), ("a", 1), ("base", 2)]
    found = Feed(source, settings, CPU).gather(items)
    for place, (task, clip) in enumerate(items):
        assert torch.equal(found.features[place], source.batch(task, [clip]).features[0])
        assert torch.equal(found.actions[place], source.batch(task, [clip]).actions[0])


def test_a_batch_has_as_many_frames_as_the_context_asks_for() -> None:
    source = small.Clips(frames=9)
    found = Feed(source, small.trainer(data={"frames": 9}), CPU).gather([("base", 0)])
    assert found.features.shape[1] == small.CONTEXT + 1
    assert found.actions.shape[1] == small.CONTEXT


def test_a_fixed_part_of_each_batch_of_a_later_phase_is_replayed() -> None:
    kept = {"base": (2, 3)}
    batches, _ = fed(kept, continual={"replay": {"buffer": 4, "fraction": 0.5}})
    later = batches[13:]
    assert later
    assert all(sum(task == "base" for task, _ in b) == 2 for b in later)
    assert {i for b in later for task, i in b if task == "base"} == {2, 3}


@pytest.mark.parametrize("clips", [3, 4])
def test_validation_takes_the_same_share_of_every_task(clips: int) -> None:
    settings = small.trainer(continual={**PROTOCOL, "order": "joint"}, validation={"clips": clips})
    source = Spy(tasks_of(settings))
    Feed(source, settings, CPU).validation(("base", "a"))
    assert Counter(task for task, _ in source.asked) == {"base": clips // 2, "a": clips // 2}


def test_what_a_step_draws_depends_on_its_number_alone() -> None:
    settings = small.trainer(model={"drop_path": 0.5})
    torch.manual_seed(1)
    one = draws_of(settings, 4, 7, 0, CPU)
    torch.manual_seed(2)
    same, other = draws_of(settings, 4, 7, 0, CPU), draws_of(settings, 4, 7, 1, CPU)
    assert torch.equal(one.tau, same.tau)
    for name in ("teacher", "rollout", "jump"):
        assert torch.equal(getattr(one.drops, name), getattr(same.drops, name))
        assert not torch.equal(getattr(one.drops, name), getattr(other.drops, name))
