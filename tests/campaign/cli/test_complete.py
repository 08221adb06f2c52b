"""Law: a shell completes the names that are there, of the home that is meant, and never prints an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.home import Home


def completed(cwd: Path, *words: str) -> list[str]:
    """What bash is offered for the last word."""
    line = " ".join(["campaign", *words])
    asked = {
        "COMP_WORDS": line, "COMP_CWORD": str(len(words)), "_CAMPAIGN_COMPLETE": "complete_bash",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from campaign.cli.main import main; import sys; sys.argv[0] = 'campaign'; main()"],
        cwd=cwd, env={**os.environ, **asked}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["show", ""], ["c/a", "c/b", "c/w", "a", "b", "w"]),
        (["logs", "c/"], ["c/a", "c/b", "c/w"]),
        (["watch", ""], ["c"]),
        (["cancel", "--campaign", ""], ["c"]),
        (["alerts", "c/w"], ["c/w"]),
        (["resume", "b", "--from", "c"], ["certified"]),
        (["probe", "rel"], ["relax"]),
        (["probe", "relax", "c/a"], ["c/a"]),
        (["probe", "relax", "c/a@c"], ["c/a@certified"]),
        (["--home", "nowhere", "show", ""], []),
        (["show", "--home", "nowhere", ""], []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_names_are_completed(
    words: list[str], offered: list[str], home: Home, tmp_path: Path
) -> None:
    assert home.store.exists()
    assert sorted(completed(tmp_path, *words)) == sorted(offered)


def test_a_broken_store_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "campaign.db").write_bytes(b"no database" * 500)
    assert completed(tmp_path, "show", "") == []
