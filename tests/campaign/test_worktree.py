"""Laws of the difference: commit and patch give back the tree, and nothing in it was touched."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from campaign import untracked, worktree
from campaign.worktree import look
from tests.campaign.repos import git, repository, write


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """One commit of a text, a binary, a file to go, and an ignored folder."""
    return repository(
        tmp_path / "repo",
        **{
            "model.py": b"one\ntwo\n",
            "weights.bin": bytes(range(256)),
            "old.py": b"old\n",
            ".gitignore": b"ignored/\n",
        },
    )


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def test_a_clean_tree_has_a_commit_and_no_difference(repo: Path, home: Path) -> None:
    seen = look(repo, home=home)
    assert seen.commit == git(repo, "rev-parse", "HEAD").strip()
    assert (seen.dirty, seen.patch, seen.code.patch, seen.code.unknown) == (False, None, None, "")
    assert seen.code.root == str(repo)


def test_commit_and_difference_give_back_the_tree(repo: Path, home: Path, tmp_path: Path) -> None:
    write(repo, "model.py", b"one\nthree\n")
    write(repo, "weights.bin", bytes(range(255, -1, -1)))
    (repo / "old.py").unlink()
    git(repo, "add", "-A")  # staged, then changed again
    write(repo, "model.py", b"one\nfour, without a newline")
    write(repo, "new/name with \xe4 space.py", b"new\n")
    write(repo, "new/blob", b"\0\1\2")
    write(repo, "empty", b"")
    seen = look(repo / "new", home=home)
    assert seen.patch is not None
    assert seen.code.patch is not None
    assert seen.code.patch.sha256 == hashlib.sha256(seen.patch).hexdigest()
    assert seen.code.patch.bytes == len(seen.patch)
    other = tmp_path / "other"
    git(tmp_path, "clone", str(repo), str(other))
    write(tmp_path, "p.diff", seen.patch)
    git(other, "apply", str(tmp_path / "p.diff"))
    assert files_of(other) == files_of(repo)


def test_a_change_that_only_the_content_shows_is_seen(repo: Path, home: Path) -> None:
    """Same size, same time: git reads such a file where its index is no younger than the file."""
    then = 1_700_000_000
    for setting in ("core.trustctime=false", "core.checkStat=minimal"):
        git(repo, "config", *setting.split("="))
    for content in (b"one\n", b"two\n"):
        os.utime(write(repo, "model.py", content), (then, then))
        if content == b"one\n":
            git(repo, "commit", "-a", "-m", "two")
    os.utime(repo / ".git" / "index", (then, then))
    seen = look(repo, home=home)
    assert b"+two" in (seen.patch or b"")


def test_looking_changes_nothing_in_the_repository(repo: Path, home: Path) -> None:
    write(repo, "model.py", b"changed\n")
    write(repo, "new.py", b"new\n")
    write(repo, "empty", b"")
    inside = repo / ".git"
    before = {p: p.read_bytes() for p in inside.rglob("*") if p.is_file()}
    assert look(repo, home=home).patch is not None
    assert {p: p.read_bytes() for p in inside.rglob("*") if p.is_file()} == before


def test_files_that_are_not_tracked_are_in_it_and_ignored_ones_are_not(
    repo: Path, home: Path
) -> None:
    write(repo, "new.py", b"canary-new\n")
    write(repo, "ignored/secret.txt", b"canary-ignored\n")
    seen = look(repo, home=home)
    assert not seen.dirty  # nothing that is tracked was changed
    assert seen.code.untracked == ("new.py",)
    assert b"canary-new" in (seen.patch or b"")
    assert b"canary-ignored" not in (seen.patch or b"")


@pytest.mark.parametrize("name", [".env", "conf/.env.local", "id_rsa", "a.pem", "My_Secrets.yaml"])
def test_an_untracked_file_with_the_name_of_a_secret_is_named_and_not_taken(
    repo: Path, home: Path, name: str
) -> None:
    write(repo, name, b"canary-9f3a\n")
    write(repo, "new.py", b"new\n")
    seen = look(repo, home=home)
    assert seen.code.left_out == {name: "its name is that of a secret"}
    assert b"canary-9f3a" not in (seen.patch or b"")
    assert b"new.py" in (seen.patch or b"")


@pytest.mark.parametrize(
    "content",
    [
        b"-----BEGIN OPENSSH PRIVATE KEY-----\ncanary-9f3a\n",
        b"token = 'hf_" + b"a" * 34 + b"' # canary-9f3a",
        b"https://hooks.slack.com/services/canary-9f3a",
    ],
)
def test_an_untracked_file_that_holds_a_key_is_named_and_not_taken(
    repo: Path, home: Path, content: bytes
) -> None:
    write(repo, "notes.txt", content)
    write(repo, "new.py", b"new\n")
    seen = look(repo, home=home)
    assert seen.code.left_out == {"notes.txt": "it holds what looks like a key"}
    assert b"canary-9f3a" not in (seen.patch or b"")


def test_a_file_that_the_configuration_calls_secret_is_named_and_not_taken(
    repo: Path, home: Path
) -> None:
    url = write(repo, "url", b"json://canary-9f3a/")
    (repo / "link").symlink_to("url")
    seen = look(repo, home=home, private=[url])
    assert set(seen.code.left_out) == {"url", "link"}
    assert seen.patch is None


def test_of_a_link_git_takes_where_it_points_to(repo: Path, home: Path, tmp_path: Path) -> None:
    outside = write(tmp_path, "outside", b"canary-9f3a")
    (repo / "link").symlink_to(outside)
    patch = look(repo, home=home).patch
    assert str(outside).encode() in (patch or b"")
    assert b"canary-9f3a" not in (patch or b"")


def test_a_large_untracked_file_is_named_and_not_taken(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untracked, "FILE_LIMIT", 10)
    monkeypatch.setattr(untracked, "ALL_FILES_LIMIT", 15)
    for name, size in (("a", 10), ("b", 11), ("c", 6)):
        write(repo, name, b"x" * size)
    seen = look(repo, home=home)
    assert seen.code.untracked == ("a", "b", "c")
    assert set(seen.code.left_out) == {"b", "c"}
    assert "more than 10" in seen.code.left_out["b"]


def test_of_very_many_untracked_files_the_rest_is_counted(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (untracked, worktree):
        monkeypatch.setattr(module, "MOST_NAMES", 2)
    for name in "abc":
        write(repo, name, name.encode())
    seen = look(repo, home=home)
    assert (seen.code.untracked, seen.code.more_untracked) == (("a", "b"), 1)
    assert b"b/c" not in (seen.patch or b"")


def test_a_difference_that_is_too_large_has_its_hash_and_is_not_kept(
    repo: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "model.py", b"three\n")
    whole = look(repo, home=home).code.patch
    monkeypatch.setattr(worktree, "PATCH_LIMIT", 20)
    seen = look(repo, home=home)
    assert seen.patch is None
    assert whole is not None
    assert seen.code.patch == whole.model_copy(update={"kept": False})


@pytest.mark.parametrize("place", ["runs", "deep/runs"])
def test_what_campaign_wrote_into_the_tree_is_no_part_of_it(repo: Path, place: str) -> None:
    write(repo, f"{place}/campaign.toml", b"canary\n")
    write(repo, "another/campaign.db", b"canary\n")
    write(repo, "another/c/r/attempt-1/spec.json", b"canary\n")
    seen = look(repo, home=repo / place)
    assert (seen.code.untracked, seen.patch) == ((), None)


def test_outside_a_repository_there_is_nothing_to_know(tmp_path: Path, home: Path) -> None:
    seen = look(tmp_path, home=home)
    assert (seen.commit, seen.dirty, seen.code.root, seen.code.unknown) == (None, False, None, "")


def test_before_the_first_commit_the_difference_is_not_known(tmp_path: Path, home: Path) -> None:
    git(tmp_path, "init")
    write(tmp_path, "f", b"1")
    seen = look(tmp_path, home=home)
    assert (seen.commit, seen.code.unknown) == (None, "no commit yet")


def test_a_repository_named_by_the_environment_is_not_looked_at(
    repo: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(repo / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repo))
    assert look(tmp_path, home=home).code.root is None


def _fake_git(directory: Path, body: str) -> Path:
    directory.mkdir()
    path = directory / "git"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return directory


def test_without_git_it_is_unknown(
    repo: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert look(repo, home=home).code.unknown == "git is not installed"


@pytest.mark.parametrize("hangs_at", ["rev-parse", "status", "ls-files", "diff"])
def test_a_git_that_hangs_is_ended_with_its_children_and_what_is_known_is_kept(
    repo: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hangs_at: str,
    real_git: str,
) -> None:
    write(repo, "model.py", b"changed\n")
    # the child holds the pipe open after its parent is gone
    body = f'case "$*" in *" {hangs_at} "*) sleep 600 & sleep 600;; esac\nexec {real_git} "$@"'
    folder = _fake_git(tmp_path / "bin", body)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    seen = look(repo, home=home, deadline=1.0)
    assert seen.code.unknown == "git was not done after 1 s"
    assert seen.patch is None
    assert (seen.commit is None) == (hangs_at == "rev-parse")


def test_what_git_refuses_is_the_reason(
    repo: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = "echo 'fatal: detected dubious ownership' >&2; exit 128"
    monkeypatch.setenv("PATH", f"{_fake_git(tmp_path / 'bin', refusal)}:/usr/bin:/bin")
    assert "dubious ownership" in look(repo, home=home).code.unknown


@pytest.fixture
def real_git() -> str:
    found = shutil.which("git")
    assert found is not None
    return found


@pytest.mark.parametrize(
    "setting", ["diff.noprefix=true", "diff.mnemonicPrefix=true", "color.ui=always"]
)
def test_a_users_taste_changes_no_byte(repo: Path, home: Path, setting: str) -> None:
    write(repo, "model.py", b"changed\n")
    plain = look(repo, home=home).patch
    git(repo, "config", *setting.split("="))
    assert look(repo, home=home).patch == plain
