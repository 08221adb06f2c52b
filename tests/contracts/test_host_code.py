"""Law of every host: an attempt has the code of its campaign before anything of it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from campaign.code import Code, Patch, keep
from campaign.home import Home
from specs.files import AttemptFiles
from tests.support.hosts import Stage

pytestmark = pytest.mark.heavy


def test_the_code_that_was_submitted_lies_beside_the_attempt(stage: Stage) -> None:
    path = keep(Home(root=stage.home), b"diff --git a/f b/f\n")
    patch = Patch(sha256=path.stem, bytes=path.stat().st_size, kept=True)
    code = Code(root="/repo", patch=patch, untracked=("f",), left_out={"f": "too large"})
    spec = {"start": {"checkpoint": None}, "git_commit": "0" * 40, "git_dirty": True}
    attempt = stage.attempt("shows", spec=spec, code=code).start()
    files = AttemptFiles(root=Path(attempt.launch.directory))  # in the home, wherever it runs
    assert files.code_patch.read_bytes() == path.read_bytes()
    noted = json.loads(files.code_git.read_text())
    assert (noted["commit"], noted["dirty"], noted["patch"]["sha256"]) == (
        "0" * 40,
        True,
        path.stem,
    )
    page = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text()
    shown = page.partition("## code/")[2].partition("```json\n")[2].partition("```")[0]
    assert set(json.loads(shown)) == set(noted)
    attempt.ended()
