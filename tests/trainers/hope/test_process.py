"""The trainer process on clips: SIGKILL in the middle of a task, and clips that are not as they should be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specs.files import AttemptFiles, complete_lines, digest, parse_metric_line, write_json
from specs.trainer_hope import HopeTrainer
from trainers.checkpoint import load
from trainers.data.clip_layout import ACTIONS, FEATURES

PATIENT = 120.0
"""Seconds that a process may take before the test gives up."""

TRAINER: dict[str, Any] = {
    "kind": "hope",
    "model": {
        "pattern": "HTU",
        "width": 12,
        "heads": 2,
        "conditioning_bias_std": 0.02,
        "temporal_embeddings": True,
        "cms": {"mults": [1.0, 1.5], "periods": [1, 3], "update_every": [1, 3]},
        "memories": {"detach_interval": 2},
    },
    "data": {"clips": 24, "task_clips": 16, "grid": [2, 2], "feature_width": 12},
    "continual": {
        "tasks": ["scaling", "kinematics"],
        "base_epochs": 3,
        "task_epochs": 4,
        "held_out": 4,
        "replay": {"buffer": 6, "fraction": 0.5},
    },
    "batch": 4,
    "log_every": 1,
    "validation": {"every": 10, "clips": 4},
    "checkpoints": {"every": 6, "keep_complete": 99},
}
SCRATCH: dict[str, Any] = {"kind": "scratch", "checkpoint": None}


class Attempt:
    """A HOPE trainer in a process of its own."""

    def __init__(self, root: Path, start: dict[str, Any], **fields: Any) -> None:
        self.files = AttemptFiles(root=root)
        root.mkdir()
        settings = HopeTrainer.model_validate_json(json.dumps({**TRAINER, **fields}))
        facts = {"schema": 1, "campaign": "c", "run": "r", "attempt": 1, "spec_hash": "h"}
        machine = {"devices": ["cpu:0"], "threads": 1}
        spec = {"trainer": settings.model_dump(mode="json")}
        write_json(self.files.spec, {**facts, **machine, "spec": spec, "start": start})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self.files.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trainers.entry", str(self.files.root)],
                cwd=self.files.root,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        return self.process

    def run(self) -> int:
        return self.start().wait(PATIENT)

    def until_step(self, step: int) -> None:
        """Until a metric line of that step is there."""
        deadline = time.monotonic() + PATIENT
        while max([0, *(at for at, _ in self.metrics())]) < step:
            assert time.monotonic() < deadline, self.log()
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            time.sleep(0.005)

    def metrics(self) -> dict[tuple[int, str], float]:
        """What was measured of the training, by step and name, without times."""
        if not self.files.metrics.exists():
            return {}
        lines = map(parse_metric_line, complete_lines(self.files.metrics.read_bytes()))
        return {
            (line.step, name): value
            for line in lines
            if line is not None
            for name, value in line.metrics.items()
            if not name.startswith(("time/", "system/"))
        }

    def log(self) -> str:
        return self.files.log.read_text()

    def failed(self) -> tuple[str, str]:
        events = map(json.loads, self.files.events.read_text().splitlines())
        (event,) = [event for event in events if event["event"] == "failed"]
        return event["class"], event["message"]


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Attempt]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    begun: list[Attempt] = []

    def begin(start: dict[str, Any] = SCRATCH, **fields: Any) -> Attempt:
        begun.append(Attempt(tmp_path / f"attempt-{len(begun) + 1}", start, **fields))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait(PATIENT)


def content(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds, bit by bit."""
    snapshot = load(path).snapshot
    tensors = {
        f"{stem}/{name}": (tuple(tensor.shape), tensor.numpy().tobytes())
        for stem, group in snapshot.tensors.items()
        for name, tensor in group.items()
    }
    return {**tensors, "scalars": dict(snapshot.scalars)}


@pytest.mark.heavy
def test_a_protocol_killed_in_the_middle_of_a_task_and_resumed_is_bit_equal_to_one_that_was_not(
    attempt: Callable[..., Attempt],
) -> None:
    straight = attempt()
    assert straight.run() == 0, straight.log()
    phases = {step: value for (step, name), value in straight.metrics().items() if name == "continual/phase"}  # fmt: skip
    of_task = [step for step, phase in phases.items() if phase == 1.0]
    middle = of_task[len(of_task) // 2]
    assert min(of_task) + 1 < middle < max(of_task) - 1

    killed = attempt()
    process = killed.start()
    killed.until_step(middle)
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENT) == -signal.SIGKILL, killed.log()
    left = killed.files.complete_checkpoints()[-1]
    assert min(of_task) <= left < max(phases)

    path = killed.files.checkpoint(left)
    manifest = digest(path / "manifest.json")
    resumed = attempt({"kind": "resume", "checkpoint": str(path), "manifest_sha256": manifest})
    assert resumed.run() == 0, resumed.log()
    last = max(phases)
    ours, theirs = (content(one.files.checkpoint(last)) for one in (resumed, straight))
    assert ours == theirs
    matrices = [
        json.loads((one.files.artifacts / "continual.json").read_text())
        for one in (resumed, straight)
    ]
    assert matrices[0] == matrices[1]
    assert [len(matrices[0]["modes"][mode]["matrix"]) for mode in ("on", "off")] == [3, 3]
    before = {at: value for at, value in killed.metrics().items() if at[0] <= left}
    assert before | resumed.metrics() == straight.metrics()


# ---------------------------------------------------------------- clips that are not as they should be

SMALL: dict[str, Any] = {
    "data": {"kind": "clips", "grid": [2, 2], "feature_width": 8, "frames": 4},
    "context": 3,
    "losses": {"jump_last": 2, "rollout_frames": 3},
    "continual": {"tasks": ["scaling"], "base_epochs": 1, "task_epochs": 1, "held_out": 2},
    "batch": 2,
    "checkpoints": {"every": 1, "keep_complete": 99},
}


def with_nan(clip: Path) -> None:
    features = np.load(clip / FEATURES)
    features[0, 0, 0] = np.nan
    np.save(clip / FEATURES, features)


BROKEN: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a wrong shape": (lambda clip: np.save(clip / FEATURES, np.zeros((3, 4, 8), np.float16)), ("shape (3, 4, 8)",)),
    "a wrong type": (lambda clip: np.save(clip / FEATURES, np.zeros((4, 4, 8), np.int32)), ("are int32",)),
    "a missing file": (lambda clip: (clip / ACTIONS).unlink(), ("actions.npy",)),
    "features that are no numbers": (with_nan, ("not finite", "nan at (0, 0, 0)")),
    "actions shorter than the clip": (lambda clip: np.save(clip / ACTIONS, np.zeros((3, 2), np.float32)), ("3 steps", "4 frames")),
    "a task without clips": (lambda clip: shutil.rmtree(clip.parent), ("'scaling'", "tasks with clips: base")),
}  # fmt: skip


def folder(root: Path) -> Path:
    """Six good clips of each of two tasks."""
    source = np.random.default_rng(0)
    for task in ("base", "scaling"):
        for number in range(6):
            clip = root / task / f"clip_{number:05d}"
            for name, values in (
                (FEATURES, source.standard_normal((4, 4, 8)).astype(np.float16)),
                (ACTIONS, source.standard_normal((6, 2)).astype(np.float32)),
            ):
                (clip / name).parent.mkdir(parents=True)
                np.save(clip / name, values)
    return root


def on_clips(clips: Path) -> dict[str, Any]:
    return {**SMALL, "data": {**SMALL["data"], "path": str(clips)}}


def bytes_in(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AttemptFiles]:
    """Whole clips, and an attempt that was trained on them; neither is to be changed."""
    root = tmp_path_factory.mktemp("trained")
    clips = folder(root / "clips")
    one = Attempt(root / "attempt-1", SCRATCH, **on_clips(clips))
    assert one.run() == 0, one.log()
    return clips, one.files


@pytest.mark.heavy
@pytest.mark.parametrize("how", BROKEN)
def test_clips_that_broke_end_the_next_attempt_by_name_and_nothing_is_lost(
    attempt: Callable[..., Attempt],
    trained: tuple[Path, AttemptFiles],
    tmp_path: Path,
    how: str,
) -> None:
    whole, first = trained
    clips = Path(shutil.copytree(whole, tmp_path / "clips"))
    checkpoint = first.checkpoint(first.complete_checkpoints()[0])
    start = {"kind": "resume", "checkpoint": str(checkpoint)}
    breaks, words = BROKEN[how]
    breaks(clips / "scaling" / "clip_00003")
    before = bytes_in(first.root), bytes_in(clips)
    second = attempt(start, **on_clips(clips))
    assert second.run() == 1
    failure_class, message = second.failed()
    assert failure_class == "could_not_start"
    for word in words:
        assert word in message
    assert "clip_00003" in message or how == "a task without clips"
    assert second.files.complete_checkpoints() == []
    assert (bytes_in(first.root), bytes_in(clips)) == before


@pytest.mark.heavy
def test_once_its_clips_are_whole_again_a_run_goes_on(
    attempt: Callable[..., Attempt], trained: tuple[Path, AttemptFiles], tmp_path: Path
) -> None:
    whole, first = trained
    clips = Path(shutil.copytree(whole, tmp_path / "clips"))
    step, *_, last = first.complete_checkpoints()
    start = {"kind": "resume", "checkpoint": str(first.checkpoint(step))}
    (clips / "base" / "clip_00000" / FEATURES).unlink()
    assert attempt(start, **on_clips(clips)).run() == 1
    shutil.copy(whole / "base" / "clip_00000" / FEATURES, clips / "base" / "clip_00000" / FEATURES)
    again = attempt(start, **on_clips(clips))
    assert again.run() == 0, again.log()
    assert again.files.complete_checkpoints()[-1] == last
