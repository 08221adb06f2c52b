"""An attempt of the HOPE trainer, from spec.json to its artifacts, on clips of the puck."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from specs.files import AttemptFiles, complete_lines, parse_metric_line, write_json
from specs.trainer_hope import HopeTrainer
from trainers.attempt import train
from trainers.checkpoint import load
from trainers.events import EventLog
from trainers.signals import Flags

TRAINER: dict[str, Any] = {
    "kind": "hope",
    "model": {"pattern": "HT", "width": 12, "heads": 2, "conditioning_bias_std": 0.02},
    "data": {"clips": 16, "task_clips": 10, "grid": [2, 2], "feature_width": 12},
    "continual": {"tasks": ["scaling"], "base_epochs": 2, "task_epochs": 2, "held_out": 4},
    "batch": 4,
    "log_every": 1,
    "validation": {"every": 2, "clips": 4},
    "checkpoints": {"every": 2, "keep_complete": 99},
}


def attempt(root: Path, checkpoints: Any = None, **start: Any) -> AttemptFiles:
    files = AttemptFiles(root=root)
    root.mkdir()
    trainer = {**TRAINER, "checkpoints": checkpoints or TRAINER["checkpoints"]}
    settings = HopeTrainer.model_validate_json(json.dumps(trainer))
    content = {
        "schema": 1,
        "campaign": "c",
        "run": "r",
        "attempt": 1,
        "spec_hash": "h",
        "devices": ["cpu:0"],
        "threads": 1,
        "spec": {"trainer": settings.model_dump(mode="json")},
        "start": {"kind": "scratch", **start},
    }
    write_json(files.spec, content)
    return files


def metrics(files: AttemptFiles) -> dict[tuple[int, str], float]:
    lines = [parse_metric_line(line) for line in complete_lines(files.metrics.read_bytes())]
    return {
        (line.step, name): value
        for line in lines
        if line is not None
        for name, value in line.metrics.items()
        if not name.startswith(("time/", "system/"))
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_an_attempt_trains_judges_its_phases_and_leaves_its_artifacts(tmp_path: Path) -> None:
    files = attempt(tmp_path / "a")
    assert train(files, EventLog(files.events), Flags()) is None
    measured = metrics(files)
    ends = {step for step, name in measured if name == "continual/on/error/base"}
    total = max(step for step, _ in measured)
    assert len(ends) == 2
    assert total in ends
    assert ends <= set(files.complete_checkpoints())
    lines = [parse_metric_line(line) for line in complete_lines(files.metrics.read_bytes())]
    named = {(line.step <= min(ends), line.phase) for line in lines if line is not None}
    assert named == {(True, "base"), (False, "scaling")}
    assert {p.name for p in files.artifacts.iterdir()} == {"continual.json", "continual.png"}
    content = json.loads((files.artifacts / "continual.json").read_text())
    assert content["modes"]["on"]["matrix"][-1] == [
        measured[total, "continual/on/error/base"],
        measured[total, "continual/on/error/scaling"],
    ]


@pytest.mark.parametrize("kept", [True, False])
def test_the_checkpoint_of_the_end_of_a_phase_stays_unless_it_is_not_wanted(
    tmp_path: Path, kept: bool
) -> None:
    few = {"every": 1, "keep_complete": 1, "keep_certified": 1, "keep_phases": kept}
    files = attempt(tmp_path / "a", few)
    events = _Certifying(files)
    train(files, events, Flags())
    base = min(step for step, name in metrics(files) if name == "continual/on/error/base")
    assert base not in events.steps[-2:]
    expected = {base, *events.steps[-2:]} if kept else set(events.steps[-2:])
    assert set(files.complete_checkpoints()) == expected


class _Certifying(EventLog):
    """Says of every checkpoint that it is certified once the next one is there."""

    def __init__(self, files: AttemptFiles) -> None:
        super().__init__(files.events)
        self._watch = files.watch
        self.steps: list[int] = []

    def state(self, event: str, **facts: Any) -> None:
        super().state(event, **facts)
        if event == "checkpoint":
            with self._watch.open("a") as file:
                for step in self.steps[-1:]:
                    file.write(json.dumps({"kind": "certified", "checkpoint_step": step}) + "\n")
            self.steps.append(facts["step"])


def test_an_attempt_that_was_stopped_goes_on_in_the_next_as_if_nothing_had_been(
    tmp_path: Path,
) -> None:
    straight, first = attempt(tmp_path / "s"), attempt(tmp_path / "f")
    train(straight, EventLog(straight.events), Flags())
    flags = Flags()
    events = _Stopping(first.events, flags, at=4)
    assert train(first, events, flags) == signal.SIGTERM
    step = first.complete_checkpoints()[-1]
    assert step == 4
    second = attempt(tmp_path / "g", kind="resume", checkpoint=str(first.checkpoint(step)))
    train(second, EventLog(second.events), Flags())
    expected = metrics(straight)
    assert {**metrics(first), **metrics(second)} == expected
    last = max(step for step, _ in expected)
    ours, theirs = load(second.checkpoint(last)).snapshot, load(straight.checkpoint(last)).snapshot
    assert ours.scalars == theirs.scalars
    for stem, tensors in theirs.tensors.items():
        assert all(ours.tensors[stem][name].equal(t) for name, t in tensors.items())


class _Stopping(EventLog):
    """Asks the training to stop once it states the checkpoint of a step."""

    def __init__(self, path: Path, flags: Flags, *, at: int) -> None:
        super().__init__(path)
        self._flags, self._at = flags, at

    def state(self, event: str, **facts: Any) -> None:
        super().state(event, **facts)
        if event == "checkpoint" and facts["step"] == self._at:
            self._flags.stop = signal.SIGTERM
