"""The home's copy of an attempt that lies elsewhere: whole, in order, and begun again at any moment."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.home import Home
from campaign.hosts import mirror, mirror_source
from campaign.hosts.mirror_source import GROWING, OutsideRoot, OwnFiles
from campaign.hosts.port import Asked, Grown, Part
from specs.files import AttemptFiles


class Pair:
    """An attempt on a host, and its copy in a home."""

    def __init__(self, root: Path) -> None:
        self.base = root / "base"
        self.there = self.base / "id" / "c" / "r" / "attempt-1"
        self.here = AttemptFiles(root=root / "home" / "c" / "r" / "attempt-1")
        self.there.mkdir(parents=True, exist_ok=True)
        self.here.root.mkdir(parents=True, exist_ok=True)
        self.files = OwnFiles(self.base)

    def write(self, name: str, data: bytes) -> None:
        (self.there / name).write_bytes(data)

    def append(self, name: str, data: bytes) -> None:
        with (self.there / name).open("ab") as file:
            file.write(data)

    def pull(self) -> bool:
        return bool(mirror.pull(self.files, [(self.here, str(self.there))]))

    def pull_all(self) -> None:
        for _ in range(1000):
            if self.pull():
                return
        raise AssertionError("the copy is never complete")

    def copy(self, name: str) -> bytes | None:
        path = self.here.root / name
        return path.read_bytes() if path.exists() else None

    def same(self) -> bool:
        return all(self.copy(p.name) == p.read_bytes() for p in self.there.iterdir())


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_what_grew_is_copied_from_where_the_copy_ends(pair: Pair) -> None:
    pair.write("metrics.jsonl", b"one\n")
    assert pair.pull()
    pair.append("metrics.jsonl", b"two\n")
    kept = mirror.kept_of(pair.here)
    [grown] = pair.files.grown([Asked(directory=str(pair.there), kept=kept)])
    assert [(p.name, p.offset, p.data) for p in grown.parts] == [("metrics.jsonl", 4, b"two\n")]
    assert mirror.take(pair.here, grown)
    assert pair.same()


def test_the_same_answer_twice_changes_nothing(pair: Pair) -> None:
    pair.write("metrics.jsonl", b"one\n")
    pair.pull()
    pair.append("metrics.jsonl", b"two\n")
    asked = [Asked(directory=str(pair.there), kept=mirror.kept_of(pair.here))]
    [grown] = pair.files.grown(asked)
    assert mirror.take(pair.here, grown)
    assert not mirror.take(pair.here, grown), "a part that does not fit is no part of the copy"
    assert pair.same()


@pytest.mark.parametrize(
    "copy",
    [b"oXe\n", b"one\ntwo\nthree and more\n", b"one\n\0\0\0\0"],
    ids=["other", "longer", "torn"],
)
def test_a_copy_that_is_no_beginning_of_its_source_begins_anew(pair: Pair, copy: bytes) -> None:
    (pair.here.root / "metrics.jsonl").write_bytes(copy)
    pair.write("metrics.jsonl", b"one\ntwo\n")
    pair.pull_all()
    assert pair.same()


def test_a_file_that_was_emptied_is_emptied_in_the_home(pair: Pair) -> None:
    pair.write("log.txt", b"much\n")
    pair.pull_all()
    pair.write("log.txt", b"")
    pair.pull_all()
    assert pair.copy("log.txt") == b""


def test_the_exit_comes_after_everything_else(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_source, "LARGEST_ANSWER", 100)
    monkeypatch.setattr(mirror_source, "SMALLEST_SHARE", 100)
    for name in GROWING:
        pair.write(name, random.Random(name).randbytes(170))
    pair.write("pid.json", b"{}")
    pair.write("exit.json", b'{"exit_code": 0}')
    rounds = 0
    while pair.copy("exit.json") is None:
        rounds += 1
        pair.pull()
    assert rounds == 7, "680 bytes and two, a hundred a round"
    assert pair.same()


def test_what_is_no_file_of_an_attempt_is_neither_given_nor_taken(pair: Pair) -> None:
    pair.write("secret.txt", b"x")
    pair.write("order-1.json.tmp", b"x")
    assert pair.pull()
    assert list(pair.here.root.iterdir()) == []
    stray = Part(name="../../escape", offset=None, data=b"x")
    with pytest.raises(ValueError, match="no file of an attempt"):
        mirror.take(pair.here, Grown(directory="d", parts=(stray,), complete=True))


@pytest.mark.parametrize("path", ["/etc/passwd", "{base}/../x", "{base}x/y"])
def test_nothing_outside_its_root_is_read_or_written(pair: Pair, path: str) -> None:
    outside = path.format(base=pair.base)
    with pytest.raises(OutsideRoot):
        pair.files.read(outside, 0, 1)
    with pytest.raises(OutsideRoot):
        pair.files.write(outside, 0, b"x")
    with pytest.raises(OutsideRoot):
        pair.files.grown([Asked(directory=outside)])


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(GROWING), st.binary(min_size=1, max_size=200)),
        st.tuples(st.just("replace"), st.sampled_from(("pid.json", "kill.json", "order-3.json", "metrics.jsonl")), st.binary(max_size=90)),
        st.tuples(st.just("pull"), st.just(""), st.just(b"")),
        st.tuples(st.just("tear"), st.sampled_from(GROWING), st.just(b"")),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(acts=ACTS)
def test_whatever_happened_before_the_copy_comes_to_be_the_same(
    acts: Sequence[tuple[str, str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The link may die in the middle of a write: the copy is then a shorter beginning."""
    pair = Pair(tmp_path_factory.mktemp("pair"))
    for act, name, data in acts:
        if act == "append":
            pair.append(name, data)
        elif act == "replace":
            pair.write(name, data)
        elif act == "tear" and (copy := pair.copy(name)):
            (pair.here.root / name).write_bytes(copy[: len(copy) // 2])
        elif act == "pull":
            pair.pull()
    pair.write("exit.json", b"{}")
    pair.pull_all()
    assert pair.same()


# ---------------------------------------------------------------- does the host see the home?


def test_a_host_shares_the_home_if_it_finds_the_same_new_file_there(tmp_path: Path) -> None:
    home = Home(root=tmp_path / "home")
    home.create()
    assert mirror.shares_home(home, OwnFiles(tmp_path / "base"))
    assert not mirror.shares_home(home, OwnFiles(tmp_path / "base", apart=True))
    assert list(home.root.iterdir()) == [], "nothing stays of the question"


def test_another_directory_of_the_same_path_is_not_the_home(tmp_path: Path) -> None:
    class OnAnotherDisk(OwnFiles):
        def glimpse(self, path: str) -> str | None:
            return "what lies at that path over there"

    home = Home(root=tmp_path / "home")
    home.create()
    assert not mirror.shares_home(home, OnAnotherDisk(tmp_path / "base"))


def test_a_home_has_one_name_for_ever(tmp_path: Path) -> None:
    home = Home(root=tmp_path)
    assert mirror.home_id(home) == mirror.home_id(home)
    other = Home(root=tmp_path / "other")
    other.create()
    assert mirror.home_id(other) != mirror.home_id(home)


def test_a_home_that_many_name_at_once_has_one_name(tmp_path: Path) -> None:
    home = Home(root=tmp_path)
    together = threading.Barrier(8)

    def name() -> str:
        together.wait()
        return mirror.home_id(home)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            home.id_file.unlink(missing_ok=True)
            names = [pool.submit(name) for _ in range(8)]
            assert len({n.result() for n in names}) == 1


def test_where_an_attempt_lies_is_read_back_as_it_was_recorded(tmp_path: Path) -> None:
    files = AttemptFiles(root=tmp_path)
    assert mirror.place_of(files) is None
    place = mirror.Place(host="far", root=Path("/state/id"))
    mirror.record_place(files, place)
    assert mirror.place_of(files) == place
    assert json.loads(files.mirror.read_text())["host"] == "far"
    assert place.there(Path("/home"), "/home/c/r/attempt-1") == "/state/id/c/r/attempt-1"
    assert place.here(Path("/home"), "/state/id/c/r/attempt-1") == "/home/c/r/attempt-1"
