"""Laws of where a campaign comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.provenance import provenance
from tests.campaign.repos import git, repository, write


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo", f=b"1")


def test_the_commit_and_whether_it_was_changed_are_noted(repo: Path, tmp_path: Path) -> None:
    clean = provenance(repo, {}, home=tmp_path)
    write(repo, "f", b"2")
    changed = provenance(repo, {}, home=tmp_path)
    assert clean.git_commit == changed.git_commit == git(repo, "rev-parse", "HEAD").strip()
    assert (clean.git_dirty, changed.git_dirty) == (False, True)
    assert (clean.patch, changed.patch is None) == (None, False)


def test_the_working_directory_counts_before_that_of_the_file(repo: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    found = [
        provenance(cwd, {}, home=tmp_path, beside=beside).code.root
        for cwd, beside in ((repo, plain), (plain, repo), (plain, plain), (plain, None))
    ]
    assert found == [str(repo), str(repo), None, None]


def test_without_git_the_reason_is_noted(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = provenance(repo, {}, home=tmp_path)
    assert (found.git_commit, found.code.unknown) == (None, "git is not installed")
