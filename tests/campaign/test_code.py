"""Laws of code/: a difference is kept once a home, and every attempt has it under its own name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from campaign.code import Code, Patch, give, keep
from campaign.home import Home
from specs.files import AttemptFiles, read_json

PATCH = b"diff --git a/f b/f\n"
SHA = hashlib.sha256(PATCH).hexdigest()
KEPT = Code(root="/repo", patch=Patch(sha256=SHA, bytes=len(PATCH), kept=True))
SPEC = {"git_commit": "0" * 40, "git_dirty": True}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(root=tmp_path / "runs")
    home.create()
    return home


@pytest.fixture
def files(home: Home) -> AttemptFiles:
    root = home.attempt("c", "r", 1)
    root.mkdir(parents=True)
    return AttemptFiles(root=root)


def git_json(files: AttemptFiles) -> dict[str, Any]:
    found = read_json(files.code_git)
    assert found is not None
    return found


def test_a_patch_is_kept_under_its_hash_for_its_owner_alone_and_once(home: Home) -> None:
    path = keep(home, PATCH)
    inode = path.stat().st_ino
    assert (path, path.read_bytes()) == (home.code_patch(SHA), PATCH)
    assert path.stat().st_mode & 0o777 == 0o400
    assert keep(home, PATCH).stat().st_ino == inode


def test_an_attempt_gets_commit_and_difference_without_a_second_copy(
    home: Home, files: AttemptFiles
) -> None:
    keep(home, PATCH)
    give(files, home, KEPT, SPEC)
    give(files, home, KEPT, SPEC)  # a start that was cut off is made again
    assert files.code_patch.samefile(home.code_patch(SHA))
    found = git_json(files)
    assert (found["commit"], found["dirty"], found["root"]) == ("0" * 40, True, "/repo")
    assert found["patch"]["sha256"] == SHA
    assert found["missing"] is None


def test_where_no_link_is_possible_it_is_a_copy(
    home: Home, files: AttemptFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "another file system")

    keep(home, PATCH)
    monkeypatch.setattr(os, "link", refuse)
    give(files, home, KEPT, SPEC)
    assert files.code_patch.read_bytes() == PATCH
    assert not files.code_patch.samefile(home.code_patch(SHA))


def test_a_difference_that_is_gone_is_said_and_stops_nothing(
    home: Home, files: AttemptFiles
) -> None:
    give(files, home, KEPT, SPEC)
    assert "was not there" in git_json(files)["missing"]
    assert not files.code_patch.exists()


@pytest.mark.parametrize(
    "code",
    [
        Code(root="/repo"),
        Code(unknown="git is not installed"),
        Code(root="/repo", patch=Patch(sha256=SHA, bytes=1 << 30, kept=False)),
    ],
)
def test_without_a_difference_there_is_only_what_is_known(
    code: Code, home: Home, files: AttemptFiles
) -> None:
    give(files, home, code, SPEC)
    assert not files.code_patch.exists()
    found = git_json(files)
    assert Code.model_validate({name: found[name] for name in Code.model_fields}) == code
    assert found["missing"] is None
