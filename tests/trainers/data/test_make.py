"""Laws of `trainers.data.make`: clips that the reader takes, kept when they are whole, made again when not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from specs.data_clips import PuckData
from trainers.data.child import MakeOrder, Refused
from trainers.data.clip_layout import CONTACT_SHEET, FEATURES, PARAMETERS
from trainers.data.clip_writer import opened
from trainers.data.clips import load
from trainers.data.make import work

ROOT = Path(__file__).parents[3]
SMALL = {"grid": (2, 2), "feature_width": 16, "frames": 4, "seed": 3}


def order(out: Path, *tasks: str, **changes: Any) -> MakeOrder:
    return MakeOrder(
        **{"tasks": tasks or ("base",), "out": str(out), "clips": 5, **SMALL, **changes}
    )


def make(asked: MakeOrder) -> tuple[list[dict[str, Any]], list[tuple[str, int, int]]]:
    said: list[tuple[str, int, int]] = []
    rows = work(asked, lambda task, at, of: said.append((task, at, of)))
    return [dict(row) for row in rows], said


def test_written_clips_are_those_that_a_trainer_makes_itself(tmp_path: Path) -> None:
    make(order(tmp_path / "out", "base", "kinematics"))
    settings = PuckData(clips=5, task_clips=5, **SMALL)
    at_once = load(settings, 0, tmp_path / "cache", tasks=["base", "kinematics"])
    read = load(settings.model_copy(update={"path": str(tmp_path / "out")}), 0, tmp_path / "cache")
    assert read.tasks == at_once.tasks
    for task in read.tasks:
        theirs, ours = read.batch(task, range(5)), at_once.batch(task, range(5))
        assert torch.equal(theirs.features, ours.features)
        assert torch.equal(theirs.actions, ours.actions)


def test_a_clip_lies_in_the_documented_layout_with_its_physics(tmp_path: Path) -> None:
    make(order(tmp_path, "scaling"))
    clip = tmp_path / "scaling" / "clip_00004"
    features = np.load(clip / "feature_maps" / "vjepa2_vitl16.npy")
    actions = np.load(clip / "actions_states" / "actions.npy")
    assert (features.shape, features.dtype) == ((4 * 4, 16), np.float16)
    assert actions.shape == (8, 2)
    physics = json.loads((clip / PARAMETERS).read_text())
    np.testing.assert_allclose(actions[1], physics["impulse"], rtol=1e-6)
    assert not np.delete(actions, 1, axis=0).any()
    assert 0.09 <= physics["radius"] <= 0.12


def test_what_is_there_is_kept_and_what_is_broken_or_missing_is_made(tmp_path: Path) -> None:
    (first,), _ = make(order(tmp_path))
    clips = [tmp_path / "base" / f"clip_{n:05d}" / FEATURES for n in range(7)]
    whole = clips[1].read_bytes()
    kept = clips[0].stat().st_mtime_ns
    clips[1].write_bytes(whole[:-10])
    clips[2].unlink()
    (tmp_path / "base" / ".clip_00005.part" / "feature_maps").mkdir(parents=True)
    (second,), said = make(order(tmp_path, clips=7))
    assert (first["made"], first["kept"]) == (5, 0)
    assert (second["made"], second["kept"]) == (4, 3)
    assert said[0] == ("base", 3, 7)
    assert said[-1] == ("base", 7, 7)
    assert clips[0].stat().st_mtime_ns == kept
    assert clips[1].read_bytes() == whole
    assert all(path.exists() for path in clips)
    assert not list(tmp_path.glob("base/.*"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 4}, "seed 3, asked for 4"),
        ({"feature_width": 32}, "feature_width 16, asked for 32"),
        ({"grid": (2, 3)}, r"grid \[2, 2\], asked for \[2, 3\]"),
    ],
)
def test_clips_of_another_make_are_neither_mixed_nor_touched(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    make(order(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(Refused, match=says):
        make(order(tmp_path, **changes))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "thesis.tex").write_text("x")
    with pytest.raises(Refused, match="holds files that this did not make"):
        make(order(tmp_path))
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["thesis.tex"]


def test_two_writers_of_one_folder_are_one_too_many(tmp_path: Path) -> None:
    with (
        opened(tmp_path, "base", (1, 1), {}),
        pytest.raises(Refused, match="another process writes"),
        opened(tmp_path, "base", (1, 1), {}),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"tasks": ("gravity",)}, "no task gravity"), ({"tasks": ()}, "no task given"), ({"frames": 1}, "frames: ")],
)  # fmt: skip
def test_an_order_that_cannot_be_done_is_refused(tmp_path: Path, changes: Any, says: str) -> None:
    with pytest.raises(Refused, match=says):
        make(order(tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []


def test_the_contact_sheet_shows_a_moving_puck(tmp_path: Path) -> None:
    make(order(tmp_path, clips=3))
    with Image.open(tmp_path / "base" / CONTACT_SHEET) as picture:
        page = np.asarray(picture.convert("RGB")).astype(int)
    red = (page[..., 0] > 190) & (page[..., 1] < 110)
    green = (abs(page - np.array((0.20, 0.33, 0.29)) * 255).max(-1)) < 25
    assert green.mean() > 0.3
    columns = red.any(0).nonzero()[0]
    # four frames and one of all: red in at least five places apart
    assert 1 + int((np.diff(columns) > 20).sum()) >= 5


def test_the_process_answers_in_lines_of_json_and_ends_with_its_parent(tmp_path: Path) -> None:
    asked = {"tasks": ["base"], "out": str(tmp_path), "clips": 2, **SMALL}
    argv = [sys.executable, "-P", "-E", "-m", "trainers.data.make", json.dumps(asked)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        lines = [json.loads(line) for line in child.stdout]
        assert child.wait(60) == 0
    assert lines[0] == {"task": "base", "at": 0, "of": 2}
    assert lines[-1]["data"][0]["made"] == 2
    alone = subprocess.run(argv, stdin=subprocess.DEVNULL, cwd=ROOT, timeout=60, check=False)
    assert alone.returncode == 130


@pytest.mark.parametrize("words", [[], ["{"], ['{"tasks": ["base"]}'], ['{"colour": 1}']])
def test_a_wrong_order_is_answered_without_torch(words: list[str]) -> None:
    code = (
        "import sys; from trainers.data.child import MakeOrder, run; from trainers.data.make import work; "
        "end = run(sys.argv, MakeOrder, work); assert 'torch' not in sys.modules; sys.exit(end)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "usage"
