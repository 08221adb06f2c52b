from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from specs.files import BadCheckpoint, verify_manifest
from trainers.seal import Sealer

FACTS = {"attempt": 3, "kind": "command"}


class Sealing:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[int] = []
        self.notes: list[str] = []
        self.sealer = Sealer(root, FACTS, sealed=self.steps.append, note=self.notes.append)

    def save(self, name: str, **content: str) -> Path:
        """As a program does it: under another name first."""
        directory = self.root / f".{name}"
        directory.mkdir(parents=True)
        for file, text in content.items():
            (directory / file).write_text(text)
        return directory.rename(self.root / name)


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    (tmp_path / "checkpoints").mkdir()
    return Sealing(tmp_path / "checkpoints")


def test_a_checkpoint_is_sealed_once_it_looked_the_same_twice(sealing: Sealing) -> None:
    path = sealing.save("step-10", model="weights")
    sealing.sealer.look()
    assert sealing.steps == []
    sealing.sealer.look()
    sealing.sealer.look()
    assert sealing.steps == [10]
    manifest = verify_manifest(path)
    assert (manifest["step"], manifest["attempt"], manifest["kind"]) == (10, 3, "command")


def test_what_grows_is_not_sealed_before_it_stands_still(sealing: Sealing) -> None:
    path = sealing.save("step-10", model="w")
    sealing.sealer.look()
    (path / "model").write_text("weights")
    sealing.sealer.look()
    assert sealing.steps == []
    sealing.sealer.look()
    assert sealing.steps == [10]
    verify_manifest(path)


def test_at_the_end_everything_is_sealed_at_once(sealing: Sealing) -> None:
    sealing.save("step-10", model="w")
    sealing.save("step-20", model="w")
    sealing.sealer.close()
    assert sealing.steps == [10, 20]


@pytest.mark.parametrize(
    "name", ["step-x", "step-", "tmp", "step-10.old", "step-1234567890123456789"]
)
def test_directories_of_other_names_are_the_programs_own(sealing: Sealing, name: str) -> None:
    path = sealing.save(name, model="w")
    sealing.sealer.close()
    assert [p.name for p in path.iterdir()] == ["model"]


def test_an_empty_directory_is_no_checkpoint(sealing: Sealing) -> None:
    path = sealing.save("step-10")
    sealing.sealer.close()
    assert list(path.iterdir()) == []


def test_evidence_is_never_invented(sealing: Sealing) -> None:
    without = sealing.save("step-10", model="w")
    given = sealing.save("step-20", model="w", **{"evidence.json": '{"finite": true}'})
    sealing.sealer.close()
    assert sorted(p.name for p in without.iterdir()) == ["manifest.json", "model"]
    assert json.loads((given / "evidence.json").read_text()) == {"finite": True}
    assert "evidence.json" in verify_manifest(given)["files"]


def test_a_sealed_checkpoint_that_changes_is_noticed(sealing: Sealing) -> None:
    path = sealing.save("step-10", model="w")
    sealing.sealer.close()
    (path / "model").write_text("v")
    with pytest.raises(BadCheckpoint):
        verify_manifest(path)


def test_a_manifest_that_is_there_stays(sealing: Sealing) -> None:
    path = sealing.save("step-10", model="w", **{"manifest.json": "its own"})
    sealing.sealer.close()
    assert (path / "manifest.json").read_text() == "its own"
    assert sealing.steps == []


def test_folders_inside_a_checkpoint_are_sealed_with_it(sealing: Sealing) -> None:
    path = sealing.save("step-10", model="w")
    (path / "shards").mkdir()
    (path / "shards" / "0").write_text("x")
    sealing.sealer.close()
    assert set(verify_manifest(path)["files"]) == {"model", "shards/0"}


def test_a_program_that_cleans_up_in_between_stops_nothing(sealing: Sealing) -> None:
    path = sealing.save("step-10", model="w")
    sealing.sealer.look()
    shutil.rmtree(path)
    sealing.sealer.look()
    shutil.rmtree(sealing.root)
    sealing.sealer.close()
    assert sealing.steps == []
