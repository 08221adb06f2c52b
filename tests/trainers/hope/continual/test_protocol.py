"""Laws of the phases, and of what is replayed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.trainers.hope import small
from trainers.hope.continual import replay
from trainers.hope.continual.protocol import ended, place, plan, replayed

CLIPS = {"base": 40, "a": 10, "b": 10}


def protocol(**more: Any) -> dict[str, Any]:
    return {"tasks": ["a", "b"], "base_epochs": 3, "task_epochs": 2, "held_out": 4, **more}


def names(**more: Any) -> list[tuple[str, int, float]]:
    settings = small.trainer(continual=protocol(**more))
    return [(p.name, p.steps, p.lr) for p in plan(settings, CLIPS)]


def test_a_sequence_learns_base_and_then_task_after_task_each_at_its_rate() -> None:
    assert names(task_lr=1e-4) == [("base", 30, 1e-2), ("a", 5, 1e-4), ("b", 5, 1e-4)]


def test_a_joint_run_is_one_phase_on_all_clips() -> None:
    assert names(order="joint") == [("joint", 45, 1e-2)]
    settings = small.trainer(continual=protocol(order="joint"))
    assert plan(settings, CLIPS)[0].tasks == ("base", "a", "b")


def test_without_a_protocol_there_is_one_phase_on_base() -> None:
    settings = small.trainer(steps=17)
    (phase,) = plan(settings, {"base": 3})
    assert (phase.name, phase.tasks, phase.steps) == ("base", ("base",), 17)


def test_replay_makes_a_phase_longer_so_that_its_own_clips_are_seen_as_often() -> None:
    settings = small.trainer(continual=protocol(replay={"buffer": 6, "fraction": 0.5}))
    assert replayed(settings) == 2
    assert [(p.fresh, p.steps) for p in plan(settings, CLIPS)] == [(4, 30), (2, 10), (2, 10)]


def test_accumulated_batches_are_one_step() -> None:
    settings = small.trainer(continual=protocol(), accumulate=2)
    assert [p.steps for p in plan(settings, CLIPS)] == [15, 2, 2]


def test_every_step_has_its_place() -> None:
    phases = plan(small.trainer(continual=protocol()), CLIPS)
    found = [(place(phases, s).phase, place(phases, s).at) for s in (0, 29, 30, 34, 35, 40)]
    assert found == [(0, 0), (0, 29), (1, 0), (1, 4), (2, 0), (3, 0)]
    assert [ended(phases, s) for s in (0, 29, 30, 39, 40)] == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ["a", "a"]},
        {"tasks": ["base", "a"]},
        {"tasks": []},
        {"replay": {"buffer": 1}},
        {"replay": {"buffer": 9, "fraction": 0.05}},
        {"eval_writes": []},
    ],
)
def test_a_protocol_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"continual|base|twice"):
        small.trainer(continual=protocol(**wrong))


# ---------------------------------------------------------------- replay


def buffer(capacity: int, tasks: int) -> dict[str, tuple[int, ...]]:
    kept: dict[str, tuple[int, ...]] = {}
    for number in range(tasks):
        source = torch.Generator().manual_seed(number)
        kept = replay.grown(kept, f"t{number}", range(100, 200), capacity, source)
    return kept


@pytest.mark.parametrize(("capacity", "tasks"), [(12, 1), (12, 3), (13, 5), (6, 6)])
def test_every_task_has_the_same_share_of_a_buffer_that_never_overflows(
    capacity: int, tasks: int
) -> None:
    kept = buffer(capacity, tasks)
    assert {len(clips) for clips in kept.values()} == {capacity // tasks}
    assert all(len(set(clips)) == len(clips) for clips in kept.values())


def test_a_share_that_shrinks_drops_clips_and_takes_no_new_ones() -> None:
    few, many = buffer(12, 2), buffer(12, 4)
    assert set(many["t0"]) < set(few["t0"])


def test_a_task_with_fewer_clips_than_its_share_is_kept_whole() -> None:
    kept = replay.grown({}, "t", [3, 5], 10, torch.Generator().manual_seed(0))
    assert sorted(kept["t"]) == [3, 5]


def test_what_is_replayed_is_drawn_from_the_whole_buffer() -> None:
    kept = buffer(12, 3)
    found = replay.drawn(kept, 2000, torch.Generator().manual_seed(0))
    assert set(found) == {(task, clip) for task, clips in kept.items() for clip in clips}
