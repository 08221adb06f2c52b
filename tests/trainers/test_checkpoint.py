from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.files import AttemptFiles, BadCheckpoint, digest
from trainers import checkpoint
from trainers.checkpoint import CheckpointExists, load, missing_room, save, size_of
from trainers.protocol import Evidence, Snapshot

EVIDENCE = Evidence(finite=True, metrics={"val/ce": 2.5, "spectrum/max_re_mu": float("-inf")})
FACTS = {"attempt": 1, "spec_hash": "h", "torch": "2", "device": "cpu", "kind": "toy"}


def snapshot(value: float = 1.0) -> Snapshot:
    return Snapshot(
        tensors={"model": {"w": torch.full((2, 3), value)}, "ema": {"w": torch.zeros(1)}},
        scalars={"step": 7, "rates": [1e-4, 0.1 + 0.2], "name": "ä"},
    )


def write(root: Path, step: int = 7, value: float = 1.0) -> Path:
    return save(root, step=step, snapshot=snapshot(value), evidence=EVIDENCE, facts=FACTS).path


def assert_same(a: Snapshot, b: Snapshot) -> None:
    assert a.scalars == b.scalars
    assert a.tensors.keys() == b.tensors.keys()
    for stem, tensors in a.tensors.items():
        assert tensors.keys() == b.tensors[stem].keys()
        for name, tensor in tensors.items():
            other = b.tensors[stem][name]
            assert tensor.dtype == other.dtype
            assert tensor.shape == other.shape
            assert torch.equal(tensor, other)


TENSORS = {
    "float32": torch.randn(3, 4),
    "float64": torch.randn(3, dtype=torch.float64),
    "bfloat16": torch.randn(5).bfloat16(),
    "int64": torch.arange(4),
    "bytes": torch.arange(9, dtype=torch.uint8),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(0, 4),
    "transposed": torch.randn(3, 4).T,
    "slice": torch.randn(6, 4)[::2],
    "expanded": torch.randn(1, 4).expand(3, 4),
    "parameter": torch.nn.Parameter(torch.randn(2)),
    "denormal": torch.tensor([1e-45, -0.0]),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_comes_back_bit_by_bit(tmp_path: Path, name: str) -> None:
    kept = Snapshot(tensors={"model": {name: TENSORS[name]}}, scalars={})
    saved = save(tmp_path, step=1, snapshot=kept, evidence=EVIDENCE, facts=FACTS)
    loaded = load(saved.path)
    assert_same(loaded.snapshot, kept)
    assert loaded.step == 1


def test_tensors_that_share_memory_come_back_as_two(tmp_path: Path) -> None:
    tied = torch.randn(4)
    kept = Snapshot(tensors={"model": {"a": tied, "b": tied, "c": tied[1:]}}, scalars={})
    path = save(tmp_path, step=1, snapshot=kept, evidence=EVIDENCE, facts=FACTS).path
    assert_same(load(path).snapshot, kept)


def test_scalars_come_back_as_they_were(tmp_path: Path) -> None:
    assert_same(load(write(tmp_path)).snapshot, snapshot())


def test_the_manifest_says_what_wrote_the_checkpoint(tmp_path: Path) -> None:
    manifest = load(write(tmp_path)).manifest
    assert {name: manifest[name] for name in FACTS} == FACTS
    assert manifest["step"] == 7


def test_evidence_that_is_not_finite_is_kept_as_words(tmp_path: Path) -> None:
    evidence = json.loads((write(tmp_path) / "evidence.json").read_text())
    assert evidence["metrics"] == {"val/ce": 2.5, "spectrum/max_re_mu": "-Infinity"}
    assert evidence["finite"] is True


# ---------------------------------------------------------------- corruption


def mutants(directory: Path) -> Iterator[str]:
    """Damage the checkpoint in place in every way there is, one at a time; it is whole in between."""
    for path in sorted(directory.iterdir()):
        whole = path.read_bytes()
        for at in range(len(whole)):
            for mask in (0x01, 0x20, 0xFF):
                path.write_bytes(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])
                yield f"{path.name} byte {at} ^ {mask:#x}"
        for end in range(len(whole)):
            path.write_bytes(whole[:end])
            yield f"{path.name} cut to {end} bytes"
        for more in (b"\0", b"\n", b" ", whole):
            path.write_bytes(whole + more)
            yield f"{path.name} with {more[:1]!r} added"
        path.unlink()
        yield f"{path.name} missing"
        path.mkdir()
        yield f"{path.name} a directory"
        path.rmdir()
        path.write_bytes(whole)
    stray = directory / "more.safetensors"
    stray.write_bytes(b"")
    yield "a file that is not in the manifest"
    stray.unlink()


def test_every_damaged_byte_cut_and_missing_file_is_noticed(tmp_path: Path) -> None:
    tiny = Snapshot(tensors={"m": {"w": torch.ones(2)}}, scalars={})
    path = save(tmp_path, step=1, snapshot=tiny, evidence=EVIDENCE, facts=FACTS).path
    unnoticed = []
    count = 0
    for mutant in mutants(path):
        count += 1
        try:
            load(path)
        except BadCheckpoint:
            continue
        unnoticed.append(mutant)
    assert unnoticed == []
    assert count > 2000
    load(path)  # it is whole again: the damage was what was noticed


@pytest.mark.parametrize("other", [{"step": 8}, {"value": 2.0}])
def test_the_manifest_of_another_checkpoint_is_noticed(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    path, foreign = write(tmp_path / "a"), write(tmp_path / "b", **other)
    shutil.copy(foreign / "manifest.json", path / "manifest.json")
    with pytest.raises(BadCheckpoint):
        load(path)


def test_a_checkpoint_under_the_name_of_another_step_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    moved = path.rename(tmp_path / "step-8")
    with pytest.raises(BadCheckpoint, match="step 7"):
        load(moved)


def test_a_whole_checkpoint_in_the_place_of_the_recorded_one_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    recorded = digest(path / "manifest.json")
    load(path, manifest_sha256=recorded)
    shutil.rmtree(path)
    write(tmp_path, value=2.0)
    with pytest.raises(BadCheckpoint, match="not the manifest that was recorded"):
        load(path, manifest_sha256=recorded)


def test_a_pickle_with_a_right_hash_is_not_read(tmp_path: Path, monkeypatch: Any) -> None:
    def pickled(tensors: object, path: Path) -> None:
        path.write_bytes(pickle.dumps({"w": 1}))

    monkeypatch.setattr(checkpoint, "save_file", pickled)
    path = write(tmp_path)
    with pytest.raises(BadCheckpoint):
        load(path)


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_what_is_no_checkpoint_at_all_is_a_bad_checkpoint(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadCheckpoint):
        load(tmp_path / place)


# ---------------------------------------------------------------- whole or not there


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


def die_at(monkeypatch: pytest.MonkeyPatch, nth: int) -> list[str]:
    """Die at the nth call that changes the disk for good. Returns the calls made."""
    calls: list[str] = []

    def guarded(name: str, function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == nth:
                raise Killed(name)
            return function(*given, **named)

        return call

    monkeypatch.setattr(os, "fsync", guarded("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", guarded("replace", os.replace))
    monkeypatch.setattr(checkpoint, "save_file", guarded("save_file", checkpoint.save_file))
    monkeypatch.setattr(
        shutil, "rmtree", guarded("rmtree", lambda *a, **k: None)
    )  # the dead clean nothing
    return calls  # fmt: skip


def test_death_at_any_moment_leaves_a_whole_checkpoint_or_none(tmp_path: Path) -> None:
    outcomes = []
    for nth in range(1, 100):
        files = AttemptFiles(root=tmp_path / str(nth))
        files.root.mkdir()
        write(files.checkpoints, step=3)
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = die_at(monkeypatch, nth)
            try:
                write(files.checkpoints)
            except Killed:
                outcomes.append(files.complete_checkpoints() == [3, 7])
            else:
                assert len(calls) < nth
                break
        for step in files.complete_checkpoints():
            load(files.checkpoint(step))
        assert set(files.complete_checkpoints()) <= {3, 7}
        if not outcomes[-1]:
            write(files.checkpoints)  # what the dead left behind is in nobody's way
            load(files.checkpoint(7))
    assert len(outcomes) >= 8
    assert outcomes == sorted(outcomes)  # first never there, then always
    assert {True, False} <= set(outcomes)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: Any) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_checkpoint_twice_is_one(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = digest(path / "manifest.json")
    assert write(tmp_path) == path
    assert digest(path / "manifest.json") == before
    assert [p.name for p in tmp_path.iterdir()] == ["step-7"]


def test_another_checkpoint_of_the_same_step_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(CheckpointExists, match="other content"):
        write(tmp_path, value=2.0)
    assert_same(load(path).snapshot, snapshot())
    assert [p.name for p in tmp_path.iterdir()] == ["step-7"]


def test_a_broken_checkpoint_in_the_way_is_not_taken_for_the_same(tmp_path: Path) -> None:
    path = write(tmp_path)
    (path / "state.json").write_text("{}")
    with pytest.raises(CheckpointExists, match="broken"):
        write(tmp_path)


@pytest.mark.parametrize("stem", ["../model", "Model", "", "a b", "manifest.json"])
def test_a_group_that_cannot_name_a_file_is_refused(tmp_path: Path, stem: str) -> None:
    odd = Snapshot(tensors={stem: {"w": torch.ones(1)}}, scalars={})
    with pytest.raises(ValueError, match="cannot name a file"):
        save(tmp_path, step=1, snapshot=odd, evidence=EVIDENCE, facts=FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_scalar_that_json_cannot_keep_is_refused(tmp_path: Path) -> None:
    odd = Snapshot(tensors={"m": {"w": torch.ones(1)}}, scalars={"best": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        save(tmp_path, step=1, snapshot=odd, evidence=EVIDENCE, facts=FACTS)


# ---------------------------------------------------------------- room


@pytest.mark.parametrize(("free", "enough"), [(219, False), (220, True), (10_000, True)])
def test_a_checkpoint_wants_its_size_and_more_than_once_over(
    tmp_path: Path, monkeypatch: Any, free: int, enough: bool
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert (missing_room(tmp_path, 100) is None) == enough


def test_the_size_of_a_snapshot_is_that_of_its_tensors() -> None:
    assert size_of(snapshot()) == (6 + 1) * 4
