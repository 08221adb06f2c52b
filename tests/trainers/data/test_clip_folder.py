"""Laws of the reader: what it reads, and how it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.data import clip_folders as made
from trainers.data import clip_folder
from trainers.data.clip_folder import load
from trainers.data.clip_layout import ACTIONS, FEATURES
from trainers.data.clip_store import BadClips


def with_nan(value: float) -> np.ndarray:
    found = made.features()
    found[2, 1, 3] = value
    return found


T, P, F = made.FRAMES, made.ROWS * made.COLUMNS, made.WIDTH


@pytest.mark.parametrize("shape", [(T * P, F), (T, P, F), (T, made.ROWS, made.COLUMNS, F)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_documented_shape_reads_alike(
    tmp_path: Path, shape: tuple[int, ...], dtype: str
) -> None:
    made.write_clip(tmp_path / "base", 0, features=made.features().reshape(shape).astype(dtype))
    found = load(made.settings(tmp_path), None, tmp_path / "cache")["base"]
    assert found.features.shape == (1, T, P, F)
    np.testing.assert_array_equal(found.features.gather(np.array([0]))[0].numpy(), made.features())
    np.testing.assert_array_equal(found.impulses, [made.IMPULSE])


BROKEN: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no features": (lambda c: (c / FEATURES).unlink(), ("features are missing", str(FEATURES))),
    "no actions": (lambda c: (c / ACTIONS).unlink(), ("actions are missing", str(ACTIONS))),
    "features cut short": (
        lambda c: (c / FEATURES).write_bytes((c / FEATURES).read_bytes()[:-8]),
        ("features", "no whole .npy file"),
    ),
    "no array": (lambda c: (c / ACTIONS).write_text("impulse"), ("actions", "no whole .npy file")),
    "pickled": (
        lambda c: np.save(c / FEATURES, np.array([{"a": 1}], dtype=object), allow_pickle=True),
        ("features", "no whole .npy file"),
    ),
    "wrong shape": (
        lambda c: np.save(c / FEATURES, np.zeros((T, P, F + 1), np.float16)),
        (f"shape ({T}, {P}, {F + 1})", f"allowed: ({T}, {P}, {F}) or ({T * P}, {F})", "feature_width"),
    ),
    "wrong dtype": (
        lambda c: np.save(c / FEATURES, np.zeros((T, P, F), np.int16)),
        ("features", "are int16", "float16, float32"),
    ),
    "nan": (
        lambda c: np.save(c / FEATURES, with_nan(np.nan)),
        ("features", "1 values that are not finite", "nan at (2, 1, 3)"),
    ),
    "infinite": (lambda c: np.save(c / FEATURES, with_nan(-np.inf)), ("-inf at (2, 1, 3)",)),
    "actions shorter than the clip": (
        lambda c: np.save(c / ACTIONS, made.actions(steps=T - 1)),
        ("actions", f"{T - 1} steps", f"{T} frames"),
    ),
    "actions of three components": (
        lambda c: np.save(c / ACTIONS, np.zeros((6, 3), np.float32)),
        ("actions", "(6, 3)", "(steps, 2)"),
    ),
    "whole numbers as actions": (
        lambda c: np.save(c / ACTIONS, np.zeros((6, 2), np.int64)),
        ("actions", "int64"),
    ),
    "actions that are nan": (
        lambda c: np.save(c / ACTIONS, np.full((6, 2), np.nan, np.float32)),
        ("actions", "nan at step 0, component 0"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_clip_is_named_with_what_is_wrong(tmp_path: Path, how: str) -> None:
    made.folder(tmp_path, base=3)
    breaks, words = BROKEN[how]
    breaks(tmp_path / "base" / "clip_00001")
    with pytest.raises(BadClips) as error:
        load(made.settings(tmp_path), ["base"], tmp_path / "cache")
    for word in (str(tmp_path / "base" / "clip_00001"), *words):
        assert word in str(error.value)
    assert "clip_00000" not in str(error.value)


def test_all_broken_clips_are_told_at_once(tmp_path: Path) -> None:
    made.folder(tmp_path, base=12)
    for number in range(2, 12):
        (tmp_path / "base" / f"clip_{number:05d}" / ACTIONS).unlink()
    with pytest.raises(BadClips, match=r"clip_00002(.|\n)*clip_00006(.|\n)*and 5 more clips"):
        load(made.settings(tmp_path), None, tmp_path / "cache")


def test_a_task_without_clips_is_named_with_those_that_have_some(tmp_path: Path) -> None:
    made.folder(tmp_path, scaling=1, base=1)
    (tmp_path / "kinematics").mkdir()
    with pytest.raises(BadClips) as error:
        load(made.settings(tmp_path), ["base", "kinematics"], tmp_path / "cache")
    for word in ("'kinematics'", "tasks with clips: base, scaling", "trainer.continual.tasks"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("lies", "says"), [("", "clip_XXXXX in it"), ("clip_00000", "holds clips, not tasks")]
)
def test_a_folder_without_tasks_says_what_is_looked_for(
    tmp_path: Path, lies: str, says: str
) -> None:
    (tmp_path / lies).mkdir(exist_ok=True)
    with pytest.raises(BadClips, match=says):
        load(made.settings(tmp_path), None, tmp_path / "cache")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadClips, match=r"nowhere cannot be read: .*trainer\.data\.path"):
        load(made.settings(tmp_path / "nowhere"), None, tmp_path / "cache")


def test_tasks_come_base_first_and_clips_by_number(tmp_path: Path) -> None:
    made.folder(tmp_path, kinematics=1, base=1, zebra=1, scaling=1)
    made.write_clip(tmp_path / "base", 100_000)
    made.write_clip(tmp_path / "base", 99_999)
    found = load(made.settings(tmp_path), None, tmp_path / "cache")
    assert list(found) == ["base", "scaling", "kinematics", "zebra"]
    np.testing.assert_array_equal(found["base"].impulses[:, 0], [0.25, 99_999.25, 100_000.25])


@pytest.mark.parametrize(("clips", "there"), [(2, 2), (5, 4), (None, 4)])
def test_the_settings_take_the_first_so_many_clips(
    tmp_path: Path, clips: int | None, there: int
) -> None:
    made.folder(tmp_path, base=4)
    assert (
        len(load(made.settings(tmp_path, clips=clips), None, tmp_path / "cache")["base"]) == there
    )


@pytest.mark.parametrize("what", ["features", "actions"])
def test_the_hash_goes_with_every_value(tmp_path: Path, what: str) -> None:
    made.folder(tmp_path / "a", base=2)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first, same = (
        load(made.settings(tmp_path / x), None, tmp_path / "cache")["base"].sha256 for x in "ab"
    )
    changed = getattr(made, what)(1)
    changed[1] += 1
    made.write_clip(tmp_path / "b" / "base", 1, **{what: changed})
    assert same == first
    assert load(made.settings(tmp_path / "b"), None, tmp_path / "cache")["base"].sha256 != first


def test_a_folder_is_read_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.folder(tmp_path, base=3)
    first = load(made.settings(tmp_path), None, tmp_path / "cache")["base"].sha256
    seen: list[Path] = []
    read = clip_folder._read_through

    def counted(clip: Path, values: np.ndarray) -> str:
        seen.append(clip)
        return read(clip, values)

    monkeypatch.setattr(clip_folder, "_read_through", counted)
    assert load(made.settings(tmp_path), None, tmp_path / "cache")["base"].sha256 == first
    assert seen == []
    made.write_clip(tmp_path / "base", 2, features=made.features(7))
    load(made.settings(tmp_path), None, tmp_path / "cache")
    assert [clip.name for clip in seen] == ["clip_00002"]


def test_a_damaged_record_of_what_was_read_costs_another_reading(tmp_path: Path) -> None:
    made.folder(tmp_path, base=1)
    first = load(made.settings(tmp_path), None, tmp_path / "cache")["base"].sha256
    (tmp_path / "cache" / "read-through.json").write_text("{")
    assert load(made.settings(tmp_path), None, tmp_path / "cache")["base"].sha256 == first


def test_a_clip_that_goes_away_afterwards_is_named(tmp_path: Path) -> None:
    made.folder(tmp_path, base=2)
    found = load(made.settings(tmp_path), None, tmp_path / "cache")["base"]
    shutil.rmtree(tmp_path / "base" / "clip_00001")
    with pytest.raises(BadClips, match=r"clip_00001.*cannot be read now"):
        found.features.gather(np.array([0, 1]))
