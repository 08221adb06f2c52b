"""Checkpoints travel by way of the home, and under their name only what is whole is ever seen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from campaign.hosts import mirror, mirror_ship
from campaign.hosts.mirror import Place
from campaign.hosts.mirror_ship import NotShipped, Shipper
from campaign.hosts.mirror_source import OwnFiles
from specs.files import MANIFEST, AttemptFiles, digest, make_manifest, verify_manifest, write_json

STEP = 7


class Cut(OSError):
    """The network, at its worst."""


class World:
    """A home, and two hosts that do not share it."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.bases = {name: root / name for name in ("east", "west")}
        self.files = {name: Cutting(base) for name, base in self.bases.items()}
        self.shipper = Shipper(self.home, self.files)
        self.attempt = AttemptFiles(root=self.home / "c" / "r" / "attempt-1")
        self.attempt.root.mkdir(parents=True)
        self.checkpoint = str(self.attempt.checkpoint(STEP))

    def place(self, host: str) -> Place:
        return Place(host=host, root=self.bases[host] / "id")

    def on(self, host: str) -> Path:
        return Path(self.place(host).there(self.home, self.checkpoint))

    def saved_on(self, host: str) -> str:
        mirror.record_place(self.attempt, self.place(host))
        return saved(self.on(host))


class Cutting(OwnFiles):
    """After ``left`` pieces every call fails."""

    left = 10**6

    def read(self, path: str, offset: int, size: int) -> bytes:
        self._spend()
        return super().read(path, offset, size)

    def write(self, path: str, offset: int, data: bytes) -> None:
        self._spend()
        super().write(path, offset, data)

    def _spend(self) -> None:
        if self.left <= 0:
            raise Cut("cut off")
        self.left -= 1


def saved(directory: Path) -> str:
    """A complete checkpoint; the hash of its manifest."""
    (directory / "parts").mkdir(parents=True)
    for name, size in (("a.safetensors", 1000), ("parts/b.bin", 333), ("empty.json", 0)):
        (directory / name).write_bytes(random.Random(name).randbytes(size))
    write_json(directory / MANIFEST, make_manifest(directory, step=STEP, extra={}))
    return digest(directory / MANIFEST)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(mirror_ship, "CHUNK", 100)
    return World(tmp_path)


def test_a_checkpoint_of_one_host_comes_to_another_by_way_of_the_home(world: World) -> None:
    sha = world.saved_on("east")
    world.shipper.to_host(world.checkpoint, sha, world.place("west"))
    for copy in (Path(world.checkpoint), world.on("west")):
        assert verify_manifest(copy, manifest_sha256=sha)["step"] == STEP
        assert [p.name for p in copy.parent.iterdir()] == [copy.name], "nothing half lies beside it"


def test_a_checkpoint_of_the_home_comes_to_a_host(world: World) -> None:
    sha = saved(Path(world.checkpoint))
    world.shipper.to_host(world.checkpoint, sha, world.place("west"))
    verify_manifest(world.on("west"), manifest_sha256=sha)


def test_a_checkpoint_that_lies_on_the_host_is_not_copied(world: World) -> None:
    sha = world.saved_on("west")
    world.files["west"].left = 0
    world.shipper.to_host(world.checkpoint, sha, world.place("west"))
    assert not Path(world.checkpoint).exists()


def test_a_copy_that_is_there_is_not_made_again(world: World) -> None:
    sha = world.saved_on("east")
    world.shipper.into_home(world.checkpoint, sha)
    world.files["east"].left = 0
    world.shipper.into_home(world.checkpoint, sha)


@pytest.mark.parametrize("side", ["east", "west"])
def test_a_copy_that_is_cut_off_anywhere_is_never_seen_and_can_be_finished(
    world: World, side: str
) -> None:
    sha = world.saved_on("east")
    for pieces in range(60):
        world.files[side].left = pieces
        try:
            world.shipper.to_host(world.checkpoint, sha, world.place("west"))
            break
        except NotShipped as error:
            assert side in str(error)
            assert not world.on("west").exists()
    verify_manifest(world.on("west"), manifest_sha256=sha)


@pytest.mark.parametrize("where", ["the host is not here", "a byte changed", "it was deleted"])
def test_what_cannot_be_brought_is_said_and_nothing_is_there(world: World, where: str) -> None:
    sha = world.saved_on("east")
    if where == "the host is not here":
        del world.files["east"]
    elif where == "a byte changed":
        (world.on("east") / "a.safetensors").write_bytes(bytes(1000))
    else:
        (world.on("east") / "a.safetensors").unlink()
    with pytest.raises(NotShipped, match="east"):
        world.shipper.into_home(world.checkpoint, sha)
    assert not Path(world.checkpoint).exists()


def test_a_copy_of_other_bytes_is_thrown_away_so_that_the_next_begins_anew(world: World) -> None:
    sha = world.saved_on("east")
    good = (world.on("east") / "a.safetensors").read_bytes()
    (world.on("east") / "a.safetensors").write_bytes(bytes(1000))
    with pytest.raises(NotShipped):
        world.shipper.into_home(world.checkpoint, sha)
    (world.on("east") / "a.safetensors").write_bytes(good)
    world.shipper.into_home(world.checkpoint, sha)
    verify_manifest(Path(world.checkpoint), manifest_sha256=sha)


@pytest.mark.parametrize("name", ["../../../evil", "/evil", "a/../../evil"])
def test_a_manifest_leads_nowhere_else(world: World, name: str) -> None:
    mirror.record_place(world.attempt, world.place("east"))
    world.on("east").mkdir(parents=True)
    write_json(world.on("east") / MANIFEST, {"files": {name: {"bytes": 1, "sha256": "0"}}})
    sha = digest(world.on("east") / MANIFEST)
    with pytest.raises(NotShipped, match="no name of a file"):
        world.shipper.into_home(world.checkpoint, sha)
