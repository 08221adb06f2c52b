"""Laws of a source of clips, made or read: disjoint parts, the documents' actions, one hash for one set of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from specs.data_clips import TASKS, PuckData, training_clips
from tests.trainers.data import clip_folders as made
from trainers.data.clip_store import BadClips, Held, OneFile, TaskClips
from trainers.data.clips import ClipSource, load
from trainers.data.puck import clips as puck_clips


def puck(**fields: Any) -> PuckData:
    given = {"clips": 12, "task_clips": 8, "grid": (2, 2), "feature_width": 16, "frames": 4}
    return PuckData(**{**given, **fields})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def source(cache: Path) -> ClipSource:
    return load(puck(), 0, cache, held_out=3)


@pytest.fixture
def read(tmp_path: Path) -> ClipSource:
    return load(made.settings(made.folder(tmp_path, base=6, scaling=4)), 0, tmp_path / "cache")


def bare(clips: int, *, seed: int = 0, held_out: int = 0, fraction: float = 0.1) -> ClipSource:
    """A source whose clips nobody looks at."""
    found = TaskClips(
        features=OneFile(array=np.zeros((clips, 4, 4, 16), np.float16)),
        impulses=np.zeros((clips, 2), np.float32),
        sha256="0",
        origin="nowhere",
    )
    return ClipSource(
        {"base": found},
        settings=puck(validation_fraction=fraction),
        seed=seed,
        device=torch.device("cpu"),
        held_out=held_out,
    )


# ---------------------------------------------------------------- parts


@given(
    clips=st.integers(2, 300), held_out=st.integers(0, 298), fraction=st.floats(0.01, 0.89),
    seed=st.integers(0, 5),
)  # fmt: skip
@hypothesis_settings(deadline=None, max_examples=60)
def test_the_parts_are_disjoint_not_empty_and_make_up_all_clips(
    clips: int, held_out: int, fraction: float, seed: int
) -> None:
    held_out = min(held_out, clips - 2)
    of = bare(clips, seed=seed, held_out=held_out, fraction=fraction)
    train, validation = of.train("base"), of.validation("base")
    held = of.held_out("base", held_out) if held_out else np.array([], np.int64)
    assert sorted([*train, *validation, *held]) == list(range(clips))
    assert len(train) and len(validation)
    assert list(held) == list(range(clips - held_out, clips))


def test_the_split_goes_with_the_seed_and_its_share_with_the_settings() -> None:
    first, again, other = (bare(200, seed=seed).validation("base") for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == 20


def test_fewer_held_out_clips_than_are_kept_back_are_the_last_ones(source: ClipSource) -> None:
    assert list(source.held_out("base", 2)) == [10, 11]


@pytest.mark.parametrize("task", TASKS)
def test_the_settings_know_how_many_clips_are_learnt_from(source: ClipSource, task: str) -> None:
    assert len(source.train(task)) == training_clips(puck(), task, 3)


@pytest.mark.parametrize("count", [0, 4])
def test_clips_that_may_have_trained_are_never_given_as_held_out(
    source: ClipSource, count: int
) -> None:
    with pytest.raises(BadClips, match=r"3 are held out \(trainer\.continual\.held_out\)"):
        source.held_out("base", count)


def test_too_few_clips_for_all_parts_are_refused_with_the_task_and_the_fields(cache: Path) -> None:
    with pytest.raises(BadClips, match="task base has 12 clips, of which 11 are held out") as error:
        load(puck(), 0, cache, tasks=["base"], held_out=11)
    for field in ("trainer.data.clips", "trainer.continual.held_out"):
        assert field in str(error.value)


# ---------------------------------------------------------------- batches


def test_a_batch_has_the_documents_layout(source: ClipSource) -> None:
    batch = source.batch("scaling", [5, 0, 7])
    assert batch.features.shape == (3, 4, 4, 16)
    assert batch.actions.shape == batch.states.shape == (3, 3, 2)
    assert {t.dtype for t in (batch.features, batch.actions, batch.states)} == {torch.float32}
    assert batch.actions[:, 0].abs().min() > 0
    assert not batch.actions[:, 1:].any()
    assert not batch.states.any()
    assert batch.inputs().features.shape == (3, 3, 4, 16)


def test_clips_are_given_in_the_order_asked_for(source: ClipSource) -> None:
    several, one = source.batch("base", np.array([3, 1, 3])), source.batch("base", [3])
    assert torch.equal(several.features[0], one.features[0])
    assert torch.equal(several.features[0], several.features[2])
    assert not torch.equal(several.features[0], several.features[1])
    assert torch.equal(several.actions[2], one.actions[0])


def test_a_read_batch_has_the_impulse_of_row_1_at_index_0(read: ClipSource) -> None:
    batch = read.batch("base", [4, 0])
    np.testing.assert_array_equal(batch.actions[:, 0].numpy(), [(4.25, -1.5), (0.25, -1.5)])
    assert not batch.actions[:, 1:].any()
    np.testing.assert_array_equal(batch.features[0].numpy(), made.features(4).astype(np.float32))


@pytest.mark.parametrize("indices", [[12], [-1], [0, 99]])
def test_a_clip_that_is_not_there_is_refused(source: ClipSource, indices: list[int]) -> None:
    with pytest.raises(BadClips, match="task base has the clips 0 to 11"):
        source.batch("base", indices)


@pytest.mark.parametrize("verb", ["train", "validation"])
def test_a_task_that_was_not_loaded_is_named_with_those_that_were(
    read: ClipSource, verb: str
) -> None:
    with pytest.raises(
        BadClips, match="'kinematics' has no clips here; tasks with clips: base, scaling"
    ):
        getattr(read, verb)("kinematics")


# ---------------------------------------------------------------- made clips


def test_a_puck_has_all_tasks_unless_some_are_asked_for(source: ClipSource, cache: Path) -> None:
    assert source.tasks == TASKS
    assert load(puck(), 0, cache, tasks=("base", "kinematics", "base")).tasks == (
        "base",
        "kinematics",
    )


def test_the_pucks_unknown_tasks_are_named(cache: Path) -> None:
    with pytest.raises(BadClips, match="no task 'gravity'; it has base, scaling"):
        load(puck(), 0, cache, tasks=["base", "gravity"])


def test_no_two_tasks_share_a_clip(source: ClipSource) -> None:
    impulses = [source.batch(task, range(8)).actions[:, 0] for task in source.tasks]
    assert len(torch.cat(impulses).unique(dim=0)) == 8 * len(TASKS)


def test_clips_are_made_once_and_found_in_the_cache_afterwards(
    cache: Path, source: ClipSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(puck_clips, "studio", refuse)
    again = load(puck(), 0, cache, held_out=3)
    for task in TASKS:
        assert torch.equal(
            again.batch(task, range(8)).features, source.batch(task, range(8)).features
        )


def test_made_clips_are_the_same_in_another_cache(tmp_path: Path, source: ClipSource) -> None:
    other = load(puck(), 0, tmp_path, tasks=["dissipation"])
    assert torch.equal(
        other.batch("dissipation", range(8)).features,
        source.batch("dissipation", range(8)).features,
    )


def test_no_half_written_file_is_left_by_a_making_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, task: str, clips: object) -> None:
        raise MemoryError

    monkeypatch.setattr(puck_clips.Studio, "features", fail)
    with pytest.raises(MemoryError):
        load(puck(), 0, tmp_path, tasks=["base"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"clips": 13},
        {"grid": (2, 3)},
        {"feature_width": 20},
        {"frames": 5},
        {"feature_std": 3.0},
        {"ranges": {"friction": (0.0, 0.06)}},
        {"ranges": {"density": (1, 1)}},
        {"stills": True},
    ],
    ids=str,
)
def test_the_hash_goes_with_all_that_determines_the_clips(change: dict[str, Any]) -> None:
    assert puck_clips.identity(puck(), "base", puck().clips) != puck_clips.identity(
        puck(**change), "base", puck(**change).clips
    )


def test_the_hash_leaves_the_trainers_seed_out(source: ClipSource, cache: Path) -> None:
    assert load(puck(), 99, cache).sha256 == source.sha256


def test_the_description_says_what_where_and_how_many(source: ClipSource) -> None:
    said = source.describe()
    assert said["clips_sha256"] == source.sha256
    assert said["tasks"]["base"] == {
        "clips": 12, "from": "puck, seed 0", "held_in": "disk", "train": 8, "validation": 1, "held_out": 3,
    }  # fmt: skip


def test_held_clips_are_gathered_like_those_on_the_disk() -> None:
    array = np.random.default_rng(0).standard_normal((5, 2, 3, 4)).astype(np.float16)
    disk, held = OneFile(array=array), Held(tensor=torch.from_numpy(array))
    chosen = np.array([4, 0, 4])
    assert torch.equal(disk.gather(chosen), held.gather(chosen))
    assert disk.shape == held.shape


@pytest.mark.gpu
def test_on_a_gpu_clips_are_held_in_its_memory(tmp_path: Path) -> None:
    made_there = load(puck(), 0, tmp_path, "cuda", tasks=["base"])
    assert made_there.describe()["tasks"]["base"]["held_in"].startswith("cuda")
    assert made_there.batch("base", [0]).features.is_cuda
    folder = made.settings(made.folder(tmp_path / "clips", base=3))
    read_there = load(folder, 0, tmp_path, "cuda")
    assert read_there.describe()["tasks"]["base"]["held_in"].startswith("cuda")
    np.testing.assert_array_equal(
        read_there.batch("base", [2]).features[0].cpu().numpy(), made.features(2).astype(np.float32)
    )
