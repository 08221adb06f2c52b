from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.files import AttemptFiles, make_manifest, write_json
from trainers.retention import (
    Retention,
    Standings,
    read_standings,
    retire,
    superfluous,
)

FEW = Retention(keep_complete=1, keep_certified=1)
ANCHORED = Retention(keep_complete=1, keep_certified=1, anchors=frozenset({2, 4, 9}))
SOME = Retention(keep_complete=2, keep_certified=2)


def standings(certified: tuple[int, ...] = (), fallen: tuple[int, ...] = ()) -> Standings:
    return Standings(certified=frozenset(certified), fallen=frozenset(fallen))


@pytest.mark.parametrize(
    ("steps", "known", "keep", "deleted"),
    [
        # nothing is certified yet: each may still be
        ([1, 2, 3, 4, 5], standings(), FEW, []),
        ([1, 2, 3, 4, 5], standings(fallen=(1, 2)), FEW, []),
        # what is newer than the newest certified may still be certified
        ([1, 2, 3, 4, 5], standings((2,)), FEW, [1]),
        ([1, 2, 3, 4, 5], standings((1, 2)), FEW, [1]),
        ([1, 2, 3, 4, 5], standings((1, 2)), SOME, []),
        ([1, 2, 3, 4, 5], standings((1, 2, 5)), SOME, [1, 3]),
        ([1, 2, 3, 4, 5], standings((5,)), SOME, [1, 2, 3]),
        ([1, 2, 3, 4, 5], standings((5,)), FEW, [1, 2, 3, 4]),
        # what has fallen counts neither as certified nor among those to resume from
        ([1, 2, 3, 4, 5], standings((2,), fallen=(4, 5)), FEW, [1]),
        ([1, 2, 3, 4, 5], standings((1, 5), fallen=(4, 3)), SOME, [3, 4]),
        # certificates of checkpoints that are gone, or of other attempts, protect nothing here
        ([3, 4, 5], standings((1, 2, 9)), FEW, []),
        ([], standings((1,)), FEW, []),
        # the last certified one stays whatever is asked
        ([1, 2, 3], standings((2,)), Retention(keep_complete=0, keep_certified=0), [1]),
        # an anchor stays, also one that has fallen, and takes no other's place
        ([1, 2, 3, 4, 5], standings((5,), fallen=(2,)), ANCHORED, [1, 3]),
    ],
)
def test_what_is_deleted(
    steps: list[int], known: Standings, keep: Retention, deleted: list[int]
) -> None:
    assert superfluous(steps, known, keep) == deleted


@given(
    steps=st.sets(st.integers(1, 40), max_size=12),
    certified=st.sets(st.integers(1, 40), max_size=8),
    fallen=st.sets(st.integers(1, 40), max_size=8),
    complete=st.integers(0, 4),
    proved=st.integers(0, 4),
    anchors=st.frozensets(st.integers(1, 40), max_size=4),
)
def test_nothing_that_may_be_needed_is_ever_deleted(
    steps: set[int],
    certified: set[int],
    fallen: set[int],
    complete: int,
    proved: int,
    anchors: frozenset[int],
) -> None:
    certified -= fallen
    known = standings(tuple(certified), tuple(fallen))
    keep = Retention(keep_complete=complete, keep_certified=proved, anchors=anchors)
    left = steps - set(superfluous(sorted(steps), known, keep))
    there = sorted(certified & steps)
    assert set(there[-max(1, proved) :]) <= left
    assert set(sorted(steps - fallen)[-max(1, complete) :]) <= left
    assert {step for step in steps if step > max(there, default=-1)} <= left
    assert anchors & steps <= left
    assert set(superfluous(sorted(left), known, keep)) == set()


# ---------------------------------------------------------------- on the disk


@pytest.fixture
def files(tmp_path: Path) -> AttemptFiles:
    found = AttemptFiles(root=tmp_path / "attempt-2")
    found.root.mkdir()
    return found


def complete(files: AttemptFiles, *steps: int) -> None:
    for step in steps:
        directory = files.checkpoint(step)
        directory.mkdir(parents=True)
        (directory / "state.json").write_text("{}")
        write_json(directory / "manifest.json", make_manifest(directory, step=step, extra={}))


def say(files: AttemptFiles, *lines: tuple[str, int | None]) -> None:
    with files.watch.open("a") as file:
        for kind, step in lines:
            file.write(json.dumps({"kind": kind, "checkpoint_step": step}) + "\n")


@pytest.mark.parametrize(
    ("lines", "certified", "fallen"),
    [
        ([], (), ()),
        ([("certified", 4), ("alert", None), ("certified", 8)], (4, 8), ()),
        ([("certified", 4), ("revoked", 4), ("quarantined", 8)], (), (4, 8)),
        ([("revoked", 4), ("certified", 4)], (), (4,)),  # revoked is for ever
    ],
)
def test_standings_are_read_from_the_watchers_lines(
    files: AttemptFiles, lines: Any, certified: tuple[int, ...], fallen: tuple[int, ...]
) -> None:
    say(files, *lines)
    assert read_standings(files.watch) == standings(certified, fallen)


def test_a_line_that_is_still_being_written_says_nothing(files: AttemptFiles) -> None:
    say(files, ("certified", 4))
    with files.watch.open("a") as file:
        file.write('{"kind": "certified", "checkpoint_step": 8')
    assert read_standings(files.watch) == standings((4,))


def test_a_torn_line_says_nothing_and_hides_no_other(files: AttemptFiles) -> None:
    say(files, ("certified", 4))
    with files.watch.open("a") as file:
        file.write('{"kind": "certified", "check\n[]\n{"kind": "closed"}\n')
    say(files, ("certified", 8))
    assert read_standings(files.watch) == standings((4, 8))


def test_retired_checkpoints_are_gone_and_the_others_whole(files: AttemptFiles) -> None:
    complete(files, 1, 2, 3, 4)
    say(files, ("certified", 3))
    assert retire(files, FEW) == [1, 2]
    assert sorted(p.name for p in files.checkpoints.iterdir()) == ["step-3", "step-4"]


def test_what_other_runs_start_from_stays_until_it_is_let_go(files: AttemptFiles) -> None:
    complete(files, 1, 2, 3, 4)
    say(files, ("certified", 4))
    write_json(files.keep, {"schema": 1, "steps": [2, 9]})
    assert retire(files, FEW) == [1, 3]
    write_json(files.keep, {"schema": 1, "steps": []})
    assert retire(files, FEW) == [2]


@pytest.mark.parametrize("text", ["[]", '{"steps": 2}', '{"steps": ["2"]}', "{"])
def test_where_it_is_not_known_what_others_start_from_nothing_is_deleted(
    files: AttemptFiles, text: str
) -> None:
    complete(files, 1, 2)
    say(files, ("certified", 2))
    files.keep.write_text(text)
    with pytest.raises(ValueError, match=r"keep|Expecting"):
        retire(files, FEW)
    assert files.complete_checkpoints() == [1, 2]


def test_death_between_the_two_phases_leaves_no_half_checkpoint(
    files: AttemptFiles, monkeypatch: Any
) -> None:
    complete(files, 1, 2, 3, 4)
    say(files, ("certified", 4))
    with monkeypatch.context() as dying:
        dying.setattr(shutil, "rmtree", lambda path: None)
        retire(files, FEW)
    assert files.complete_checkpoints() == [4]
    assert len(list(files.checkpoints.glob(".trash-*"))) == 3
    retire(files, FEW)
    assert [p.name for p in files.checkpoints.iterdir()] == ["step-4"]


def test_a_step_can_be_written_and_retired_again(files: AttemptFiles) -> None:
    complete(files, 1, 2)
    say(files, ("certified", 2))
    retire(files, FEW)
    complete(files, 1)
    assert retire(files, FEW) == [1]


def test_an_ancestors_checkpoints_are_never_touched(files: AttemptFiles, tmp_path: Path) -> None:
    ancestor = AttemptFiles(root=tmp_path / "attempt-1")
    complete(ancestor, 1, 2, 3)
    say(files, ("certified", 3))
    files.checkpoints.mkdir()
    for step in (1, 2, 3):
        files.checkpoint(step).symlink_to(ancestor.checkpoint(step))
    assert retire(files, FEW) == []
    files.checkpoints.rename(tmp_path / "aside")
    files.checkpoints.symlink_to(ancestor.checkpoints)
    assert retire(files, FEW) == []
    assert ancestor.complete_checkpoints() == [1, 2, 3]


def test_without_a_checkpoint_there_is_nothing_to_do(files: AttemptFiles) -> None:
    assert retire(files, FEW) == []
