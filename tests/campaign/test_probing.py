"""Laws of what a probe is run on: which checkpoint is meant, which GPU may be opened, what an answer is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from campaign import children, probing
from campaign.devices import DeviceRow
from campaign.errors import ExitCode, NotFound, WrongState
from campaign.probing import BadProbe, ProbeFailed, pick, place, split
from campaign.rows import CheckpointRow

GPU = DeviceRow(
    device="GPU-1f0c2a3b-0000-0000-0000-000000000000", kind="gpu", host="h", index=0, name="H200",
    use="free", why="", owner=None, attempt=None, memory_used=0, memory_total=1, users=(),
    probe="real", seen_at=0.0,
)  # fmt: skip
SECOND = replace(GPU, device="GPU-77aa0000-0000-0000-0000-000000000000", index=1)


def checkpoint(path: Path, step: int, *, attempt: int = 1, status: str = "complete") -> Any:
    path.mkdir(parents=True, exist_ok=True)
    return CheckpointRow(
        campaign="c", run="a", attempt=attempt, step=step, status=status, reason="",
        path=str(path), host="h", completed_at=0.0, evidence=None,
    )  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> list[CheckpointRow]:
    return [
        checkpoint(tmp_path / "1-10", 10, status="certified"),
        checkpoint(tmp_path / "1-20", 20),
        checkpoint(tmp_path / "2-15", 15, attempt=2, status="certified"),
        checkpoint(tmp_path / "2-20", 20, attempt=2),
        checkpoint(tmp_path / "2-25", 25, attempt=2, status="retired"),
        replace(checkpoint(tmp_path / "other", 99), run="b"),
    ]


@pytest.mark.parametrize(
    ("text", "run", "which"),
    [
        ("a", "a", "latest"),
        ("c/a", "c/a", "latest"),
        ("c/a@120", "c/a", "120"),
        ("a@certified", "a", "certified"),
        ("a@latest", "a", "latest"),
    ],
)
def test_a_checkpoint_is_named_by_run_and_step(text, run, which):
    assert split(text) == (run, which)


@pytest.mark.parametrize("text", ["a@best", "a@-1", "a@1.5", "a@1@2"])
def test_behind_the_at_stands_a_step_or_a_known_word(text):
    with pytest.raises(BadProbe, match="a step, certified or latest"):
        split(text)


@pytest.mark.parametrize(
    ("which", "directory"),
    [("latest", "2-20"), ("certified", "2-15"), ("20", "2-20"), ("10", "1-10")],
)
def test_of_several_the_newest_attempt_is_meant(rows, which, directory):
    assert pick(("c", "a"), which, rows).name == directory


def test_a_step_that_is_not_there_names_those_that_are(rows):
    with pytest.raises(NotFound, match=r"no checkpoint 11; there are: 10 \(certified\)"):
        pick(("c", "a"), "11", rows)
    with pytest.raises(NotFound, match="there are: none"):
        pick(("c", "z"), "latest", rows)


def test_a_checkpoint_of_another_machine_is_named_with_its_machine(rows, tmp_path):
    gone = [replace(rows[1], path=str(tmp_path / "elsewhere"), host="far")]
    with pytest.raises(NotFound, match="written on far"):
        pick(("c", "a"), "20", gone)


@pytest.mark.parametrize("use", ["ours", "foreign", "ghost", "unknown", "excluded", "quarantined", "down"])  # fmt: skip
def test_only_a_free_gpu_is_ever_opened(use):
    taken = replace(GPU, use=use, why="because")
    assert place("auto", [taken], host="h").environment["CUDA_VISIBLE_DEVICES"] == ""
    assert place("auto", [taken, SECOND], host="h").environment["CUDA_VISIBLE_DEVICES"] == SECOND.device  # fmt: skip
    with pytest.raises(WrongState, match=use):
        place("cuda", [taken], host="h")
    with pytest.raises(WrongState, match="because"):
        place(taken.device, [taken], host="h")


@pytest.mark.parametrize("wanted", ["GPU-1f0c", "1f0c2a", "0", "h:0"])
def test_a_gpu_is_named_as_everywhere(wanted):
    found = place(wanted, [GPU, SECOND], host="h")
    assert (found.device, found.environment["CUDA_VISIBLE_DEVICES"]) == ("cuda", GPU.device)


def test_gpus_of_other_machines_are_not_there():
    far = replace(GPU, host="far")
    assert place("auto", [far], host="h").device == "cpu"
    with pytest.raises(NotFound):
        place(GPU.device, [far], host="h")


def test_a_simulated_gpu_is_never_opened():
    fake = replace(GPU, probe="fake")
    assert place("auto", [fake], host="h").device == "cpu"
    with pytest.raises(WrongState):
        place("0", [fake], host="h")


def test_a_device_that_means_nothing_is_a_usage_error():
    with pytest.raises(BadProbe, match="or auto, cpu, cuda"):
        place("all of them", [GPU], host="h")


def test_on_the_cpu_no_gpu_is_visible():
    assert place("cpu", [GPU], host="h").environment == {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def child(monkeypatch):
    """Answers in place of the measuring process, and keeps what it was started with."""
    started: dict[str, Any] = {"code": 0, "out": b'{"columns": ["model"], "data": []}'}

    def run(argv, environment):
        started.update(argv=argv, environment=environment, order=json.loads(argv[-1]))
        return started["code"], started["out"]

    monkeypatch.setattr(children, "run", run)
    return started


def test_the_child_has_the_environment_of_a_trainer(child, monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_TOKEN", "secret")
    at = place("auto", [GPU], host="h")
    probing.measure("relax", tmp_path, probing.Ask(), at, threads=64)
    assert child["argv"][1:6] == ["-P", "-E", "-m", "trainers.probe", "relax"]
    assert "SOME_TOKEN" not in child["environment"]
    assert child["environment"]["OMP_NUM_THREADS"] == str(probing.MOST_THREADS)
    assert child["order"]["threads"] == probing.MOST_THREADS
    assert child["order"]["device"] == "cuda"
    assert child["order"]["tied"] is True


def test_what_is_left_out_is_left_to_the_probe(child, tmp_path):
    probing.measure("relax", tmp_path, probing.Ask(), place("cpu", [], host="h"), threads=1)
    assert not {"of", "sequences"} & child["order"].keys()
    ask = probing.Ask(of="average", sequences=3, threads=2, options={"steps": 9})
    probing.measure("relax", tmp_path, ask, place("cpu", [], host="h"), threads=1)
    order = child["order"]
    assert (order["of"], order["sequences"], order["threads"]) == ("average", 3, 2)
    assert order["options"] == {"steps": 9}


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [("usage", BadProbe, ExitCode.USAGE), ("checkpoint", WrongState, ExitCode.WRONG_STATE)],
)
def test_a_refusal_keeps_its_words_and_gets_its_exit_code(child, tmp_path, error, kind, code):
    child["out"] = json.dumps({"error": error, "message": "in these words"}).encode()
    with pytest.raises(kind, match="in these words") as caught:
        probing.measure("x", tmp_path, probing.Ask(), place("cpu", [], host="h"), threads=1)
    assert caught.value.exit_code == code


@pytest.mark.parametrize(("code", "said"), [(-9, "signal 9"), (1, "exit code 1")])
def test_an_end_without_an_answer_is_told_as_such(child, tmp_path, code, said):
    child.update(code=code, out=b"")
    with pytest.raises(ProbeFailed, match=said):
        probing.measure("x", tmp_path, probing.Ask(), place("cpu", [], host="h"), threads=1)
