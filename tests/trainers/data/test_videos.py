"""Laws of videos: which are found, which pictures are taken, and how they are refused before anything is encoded."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainers.data.clip_folders import settings
from trainers.data.child import EncodeOrder, Refused
from trainers.data.clips import load
from trainers.data.encode import work
from trainers.data.videos import videos_in

HAS_TRANSFORMERS = importlib.util.find_spec("transformers") is not None


def video(task: Path, name: str = "a", pictures: int = 20, steps: int = 9) -> Path:
    """Picture n is all of grey n."""
    task.mkdir(parents=True, exist_ok=True)
    frames = np.broadcast_to(
        np.arange(pictures, dtype=np.uint8)[:, None, None, None], (pictures, 48, 64, 3)
    )
    np.save(task / f"{name}.npy", frames)
    actions = np.zeros((steps, 2), np.float32)
    actions[1] = (3, 4)
    np.save(task / f"{name}.actions.npy", actions)
    return task / f"{name}.npy"


def test_tasks_and_videos_are_found_by_name_without_their_actions(tmp_path: Path) -> None:
    for task, name in (("base", "b"), ("base", "a"), ("scaling", "x")):
        video(tmp_path / task, name)
    (tmp_path / "base" / "film.mp4").touch()
    (tmp_path / "base" / "notes.txt").touch()
    found = {task: [v.name for v in videos] for task, videos in videos_in(tmp_path).items()}
    assert found == {"base": ["a", "b", "film"], "scaling": ["x"]}


@pytest.mark.parametrize(
    ("count", "taken"), [(20, list(range(20))), (2, [0, 19]), (3, [0, 10, 19])]
)
def test_pictures_are_evenly_spaced_from_first_to_last(
    tmp_path: Path, count: int, taken: list[int]
) -> None:
    video(tmp_path / "base")
    pictures = videos_in(tmp_path)["base"][0].pictures(count)
    assert pictures.shape == (count, 48, 64, 3)
    assert pictures[:, 0, 0, 0].tolist() == taken


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "too few pictures": (lambda p: video(p.parent, pictures=5), "has 5 pictures, fewer than 16"),
    "no pictures": (lambda p: np.save(p, np.zeros((20, 4, 4), np.uint8)), r"allowed: uint8 \(M, H, W, 3\)"),
    "no actions": (lambda p: p.with_name("a.actions.npy").unlink(), "its actions .* is not there"),
    "short actions": (lambda p: video(p.parent, steps=7), r"\(7, 2\), allowed: \(8 or more, 2\)"),
    "actions that are nan": (
        lambda p: np.save(p.with_name("a.actions.npy"), np.full((9, 2), np.nan)), "finite floats",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_video_is_named_with_what_is_wrong(tmp_path: Path, how: str) -> None:
    breaks, says = BROKEN[how]
    breaks(video(tmp_path / "base"))
    found = videos_in(tmp_path)["base"][0]
    with pytest.raises(Refused, match=says) as error:
        found.actions(8), found.pictures(16)
    assert str(tmp_path / "base" / "a") in str(error.value)


@pytest.mark.parametrize(
    ("lies", "says"), [(None, "there is no folder"), ("base/x.txt", "has no video")]
)
def test_a_folder_without_videos_is_refused(tmp_path: Path, lies: str | None, says: str) -> None:
    root = tmp_path / "videos"
    if lies is not None:
        (root / lies).parent.mkdir(parents=True)
        (root / lies).touch()
    with pytest.raises(Refused, match=says):
        videos_in(root)


def order(tmp_path: Path) -> EncodeOrder:
    return EncodeOrder(
        videos=str(tmp_path / "videos"), checkpoint=str(tmp_path / "checkpoint"), out=str(tmp_path / "out"), frames=3
    )  # fmt: skip


def encode(tmp_path: Path) -> list[dict[str, Any]]:
    return [dict(row) for row in work(order(tmp_path), lambda task, at, of: None)]


@pytest.mark.skipif(HAS_TRANSFORMERS, reason="transformers is installed")
def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"campaign\[vjepa\]"):
        encode(tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A V-JEPA 2 of a few thousand random weights: 32 x 32 pixels, 2 x 2 patches, 8 features."""
    transformers = pytest.importorskip("transformers")
    config = transformers.VJEPA2Config(
        crop_size=32, patch_size=16, hidden_size=8, num_attention_heads=1, num_hidden_layers=1,
        pred_hidden_size=8, pred_num_attention_heads=1, pred_num_hidden_layers=1, frames_per_clip=6,
    )  # fmt: skip
    transformers.VJEPA2Model(config).save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_encoded_videos_are_clips_that_the_reader_takes(tmp_path: Path, checkpoint: Path) -> None:
    for name in "ab":
        video(tmp_path / "videos" / "base", name)
    (first,) = encode(tmp_path)
    (again,) = encode(tmp_path)
    assert (first["made"], again["made"], again["kept"]) == (2, 0, 2)
    source = load(settings(tmp_path / "out", feature_width=8), 0, tmp_path / "cache")
    batch = source.batch("base", [1])
    assert batch.features.shape == (1, 3, 4, 8)
    assert batch.actions[0, 0].tolist() == [3, 4]


def test_a_video_in_the_midst_of_encoded_ones_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    video(tmp_path / "videos" / "base", "b")
    encode(tmp_path)
    video(tmp_path / "videos" / "base", "a")
    with pytest.raises(Refused, match=r"clip_00000 shows b\.npy, but video 0 is a\.npy"):
        encode(tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    video(tmp_path / "videos" / "base")
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(Refused, match="'bert', wanted: 'vjepa2'"):
        encode(tmp_path)
