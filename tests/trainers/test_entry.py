"""The trainer process as the shim runs it, with the EP core at its smallest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.files import AttemptFiles, complete_lines, digest, parse_metric_line, write_json
from specs.trainer_ep import EpTrainer
from trainers.attempt import inexact
from trainers.checkpoint import load
from trainers.device import choose
from trainers.ep.open import open_checkpoint
from trainers.ep.text import text_of
from trainers.failure import CouldNotStart, GpuFault

PATIENT = 120.0

TRAINER = {
    "kind": "ep",
    "width": 8,
    "heads": 2,
    "context": 8,
    "batch": 2,
    "steps": 24,
    "log_every": 1,
    "relaxation": {"T1": 6, "t1max": 8},
    "adjoint": {"max_steps": 6},
    "optimizer": {"lr": 1e-2, "warmup": 4},
    "validation": {"every": 6, "sequences": 2},
    "checkpoints": {"every": 6, "keep_complete": 99},
    "resreg": 0.1,
    "jacreg": {"weight": 0.1},
}
SCRATCH: dict[str, Any] = {"kind": "scratch", "checkpoint": None}


class Entry:
    """One attempt of the smallest EP trainer in a process of its own."""

    def __init__(self, root: Path, **content: Any) -> None:
        self.files = AttemptFiles(root=root)
        root.mkdir()
        trainer = {**TRAINER, **content.pop("trainer", {})}
        settings = EpTrainer.model_validate_json(json.dumps(trainer)) if "kind" in trainer else None
        spec = {"trainer": settings.model_dump(mode="json") if settings else trainer}
        facts = {"schema": 1, "campaign": "c", "run": "r", "attempt": 1, "spec_hash": "h"}
        machine = {"devices": ["cpu:0"], "threads": 1}
        write_json(self.files.spec, {**facts, **machine, "spec": spec, "start": SCRATCH, **content})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        with self.files.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trainers.entry", str(self.files.root)],
                cwd=self.files.root,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdout=log,
                stderr=log,
            )
        return self.process

    def run(self, **environment: str) -> int:
        return self.start(**environment).wait(PATIENT)

    def until_step(self, step: int) -> None:
        deadline = time.monotonic() + PATIENT
        while max([0, *(s for s, _ in self.curve("train/ce"))]) < step:
            assert time.monotonic() < deadline, self.log()
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            time.sleep(0.005)

    def log(self) -> str:
        return self.files.log.read_text()

    def curve(self, metric: str) -> list[tuple[int, float]]:
        if not self.files.metrics.exists():
            return []
        lines = [
            parse_metric_line(line) for line in complete_lines(self.files.metrics.read_bytes())
        ]
        return [(l.step, l.metrics[metric]) for l in lines if l is not None and metric in l.metrics]  # noqa: E741

    def failed(self) -> tuple[str, str]:
        events = [json.loads(line) for line in self.files.events.read_text().splitlines()]
        (event,) = [event for event in events if event["event"] == "failed"]
        return event["class"], event["message"]

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.files.events.read_text().splitlines()]


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[Callable[..., Entry]]:
    made: list[Entry] = []

    def make(**content: Any) -> Entry:
        made.append(Entry(tmp_path / f"attempt-{len(made) + 1}", **content))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait(PATIENT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any) -> Path:
    """The checkpoint of step 6 of a run that went well; not to be changed."""
    one = Entry(tmp_path_factory.mktemp("source") / "attempt-1", trainer={"steps": 6})
    assert one.run() == 0, one.log()
    return one.files.checkpoint(6)


def from_checkpoint(kind: str, path: Path) -> dict[str, Any]:
    recorded = digest(path / "manifest.json") if (path / "manifest.json").exists() else None
    return {"kind": kind, "checkpoint": str(path), "manifest_sha256": recorded}


def state(path: Path) -> dict[str, Any]:
    snapshot = load(path).snapshot
    tensors = {
        f"{stem}/{name}": tensor.numpy().tobytes()
        for stem, group in snapshot.tensors.items()
        for name, tensor in group.items()
    }
    return {**tensors, "scalars": dict(snapshot.scalars)}


@pytest.mark.heavy
def test_a_run_that_was_stopped_and_resumed_is_bit_equal_to_a_straight_one(entry: Any) -> None:
    straight = entry()
    assert straight.run() == 0, straight.log()
    first = entry(trainer={"steps": 24})
    process = first.start()
    first.until_step(8)
    process.terminate()
    assert process.wait(PATIENT) == 143, first.log()
    left = first.files.complete_checkpoints()[-1]
    assert 8 <= left < 24
    assert first.events()[-1] == "stopped"
    second = entry(start=from_checkpoint("resume", first.files.checkpoint(left)))
    assert second.run() == 0, second.log()
    assert "resumed" in second.events()
    assert state(second.files.checkpoint(24)) == state(straight.files.checkpoint(24))
    for metric in ("train/ce", "val/ce", "train/grad_norm", "residual/T1"):
        both = dict(first.curve(metric)) | dict(second.curve(metric))
        assert both == dict(straight.curve(metric)), metric
    evidence = [
        (one.files.checkpoint(24) / "evidence.json").read_text() for one in (straight, second)
    ]
    assert evidence[0] == evidence[1]


@pytest.mark.heavy
def test_kill_9_at_any_step_leaves_only_whole_checkpoints_and_lines(entry: Any) -> None:
    one = entry(trainer={"steps": 100_000, "checkpoints": {"every": 1}})
    process = one.start()
    one.until_step(7)
    process.kill()
    assert process.wait(PATIENT) == -signal.SIGKILL
    steps = one.files.complete_checkpoints()
    assert steps
    for step in steps:
        assert load(one.files.checkpoint(step)).step == step
    lines = [parse_metric_line(line) for line in complete_lines(one.files.metrics.read_bytes())]
    assert None not in lines


@pytest.mark.heavy
def test_a_warm_start_takes_the_parameters_and_begins_at_step_0(entry: Any, trained: Path) -> None:
    warm = entry(trainer={"steps": 1}, start=from_checkpoint("warm", trained))
    assert warm.run() == 0, warm.log()
    assert warm.events()[:2] == ["started", "warm_started"]
    assert warm.files.complete_checkpoints() == [1]
    assert f"warm from {trained}" in warm.log()


@pytest.mark.heavy
@pytest.mark.parametrize("damage", ["flip", "gone", "swapped", "other_width"])
def test_a_bad_start_ends_with_13_and_is_never_a_start_from_nothing(
    entry: Any, trained: Path, tmp_path: Path, damage: str
) -> None:
    path = Path(shutil.copytree(trained, tmp_path / trained.name))
    start, trainer = from_checkpoint("resume", path), {}
    if damage == "flip":
        data = (path / "model.safetensors").read_bytes()
        (path / "model.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "gone":
        shutil.rmtree(path)
    elif damage == "swapped":
        start["manifest_sha256"] = "0" * 64
    else:
        trainer = {"width": 16}
    resumed = entry(trainer=trainer, start=start)
    assert resumed.run() == 13, resumed.log()
    failure_class, message = resumed.failed()
    assert failure_class == "bad_checkpoint"
    assert message in resumed.log()
    assert "Traceback" not in resumed.log()
    assert not resumed.files.metrics.exists()


@pytest.mark.heavy
def test_a_training_that_is_not_finite_says_so_and_keeps_nothing(entry: Any) -> None:
    # (1 + c) eps = 101: every relaxation step multiplies the state by -100, beyond float32
    one = entry(trainer={"damping": 100.0, "relaxation": {"eps": 1.0, "T1": 60, "t1max": 60}})
    assert one.run() == 1, one.log()
    assert one.failed()[0] == "non_finite"
    assert one.files.complete_checkpoints() == []
    assert "Traceback" not in one.log()


@pytest.mark.heavy
def test_sigusr1_before_torch_is_even_there_waits_for_the_first_step(entry: Any) -> None:
    one = entry(trainer={"steps": 3, "checkpoints": {"every": 100}})
    process = one.start()
    deadline = time.monotonic() + PATIENT
    caught = 0
    while not caught:  # until the process has its handler, it is not ours to be sent anything
        assert time.monotonic() < deadline
        status = Path(f"/proc/{process.pid}/status").read_text()
        mask = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        caught = int(mask.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1
    process.send_signal(signal.SIGUSR1)
    assert process.wait(PATIENT) == 0, one.log()
    assert one.files.complete_checkpoints() == [1, 3]


@pytest.mark.heavy
def test_every_metric_that_is_written_was_declared(trained: Path) -> None:
    data = (trained.parents[1] / "metrics.jsonl").read_bytes()
    lines = [parse_metric_line(line) for line in complete_lines(data)]
    written = {name for line in lines if line is not None for name in line.metrics}
    assert {"train/ce", "val/ce", "time/step_s", "time/tokens_per_s"} <= written
    assert {n for n in written if not any(fnmatchcase(n, p) for p in EpTrainer.METRICS)} == set()


@pytest.mark.heavy
def test_the_log_says_what_is_trained_and_how_the_text_is_cut(entry: Any) -> None:
    one = entry(trainer={"steps": 6})
    assert one.run() == 0
    log = one.log()
    assert "c/r, attempt 1, from scratch, on cpu:0" in log
    assert "text: pydoc_data.topics" in log
    assert "characters: [0, " in log
    assert sum(line.startswith("step ") for line in log.splitlines()) == 1
    assert "val/ce " in log
    assert log.endswith("\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "spec.json is missing"),
        ("{", "cannot be read"),
        ("{}", "cannot be read"),
    ],
)
def test_without_a_right_spec_nothing_starts(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "spec.json").write_text(content)
    found = subprocess.run(
        [sys.executable, "-P", "-m", "trainers.entry", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert said in found.stderr
    assert "Traceback" not in found.stderr
    (event,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (event["event"], event["class"]) == ("failed", "could_not_start")


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("wanted", "devices", "seen", "chosen"),
    [
        ("auto", ["cpu:0"], 0, "cpu"),
        ("auto", [], 4, "cpu"),  # none is leased: none is used
        ("auto", ["GPU-a"], 1, "cuda:0"),
        ("auto", ["GPU-a", "GPU-b"], 2, "cuda:0"),
        ("cuda", ["GPU-a"], 1, "cuda:0"),
        ("cpu", ["GPU-a"], 0, "cpu"),
        ("cpu", ["cpu:0", "cpu:1"], 0, "cpu"),
    ],
)
def test_the_device_is_the_leased_one(
    wanted: str, devices: list[str], seen: int, chosen: str
) -> None:
    assert choose(wanted, devices, count=lambda: seen) == torch.device(chosen)


@pytest.mark.parametrize(("devices", "seen"), [(["GPU-a"], 0), (["GPU-a"], 2), (["GPU-a", "GPU-b"], 1)])  # fmt: skip
def test_torch_must_see_exactly_the_leased_gpus(devices: list[str], seen: int) -> None:
    with pytest.raises(GpuFault, match=rf"sees {seen} .*leased are {len(devices)}: GPU-a"):
        choose("auto", devices, count=lambda: seen)


def test_cuda_without_a_lease_is_refused() -> None:
    with pytest.raises(CouldNotStart, match=r"resources\.gpus"):
        choose("cuda", ["cpu:0"], count=lambda: 1)


def test_a_resume_elsewhere_says_that_the_numbers_may_differ() -> None:
    now = {"torch": "2.13", "device": "cpu", "threads": 1, "text_sha256": "a"}
    assert list(inexact(now, now)) == []
    assert list(inexact({}, now)) == []
    notes = list(inexact({**now, "torch": "2.12", "device": "H200"}, now))
    assert len(notes) == 2
    assert "torch 2.13" in notes[0]
    assert "2.12" in notes[0]


@pytest.mark.heavy
def test_what_an_attempt_saved_opens_by_itself_with_the_ids_it_was_trained_on(
    entry: Any, tmp_path: Path
) -> None:
    ids = tmp_path / "ids.bin"
    ids.write_bytes(bytes(range(50)) * 40)
    data = {"kind": "tokens", "path": str(ids), "vocabulary": 50, "dtype": "uint8"}
    one = entry(trainer={"steps": 6, "data": data, "damping": 0.25})
    assert one.run() == 0, one.log()
    opened = open_checkpoint(one.files.checkpoint(6))
    assert opened.step == 6
    assert opened.settings.damping == 0.25
    assert opened.vocabulary == 50
    idx, y = text_of(opened).validation(2, 8)
    assert torch.equal(y, (idx + 1) % 50)
    assert not one.curve("val/bits_per_byte")


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "none.bin cannot be read: No such file"),
        (bytes([1, 2, 60] * 100), "holds the id 60 at position 2"),
        (bytes(9), "has 8 tokens, and 1 window(s) of context 8 need 9"),
    ],
)
def test_a_token_file_that_cannot_be_used_ends_the_attempt_with_its_reason(
    entry: Any, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "none.bin"
    if content is not None:
        path.write_bytes(content)
    data = {"kind": "tokens", "path": str(path), "vocabulary": 50, "dtype": "uint8"}
    one = entry(trainer={"data": data})
    assert one.run() == 1
    failure_class, said = one.failed()
    assert failure_class == "could_not_start"
    assert message in said
    assert "Traceback" not in one.log()
