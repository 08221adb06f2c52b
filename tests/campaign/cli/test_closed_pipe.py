"""Law: a reader that goes away ends a verb quietly, as an end by SIGPIPE would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.errors import ExitCode


def run_into_closed(path: Path, stream: str, *words: str) -> tuple[int, bytes]:
    """The exit code, and what came on the other stream; the reader of ``stream`` is gone before."""
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writing}
    argv = [sys.executable, "-m", "campaign.cli.main", *words]
    try:
        done = subprocess.run(argv, cwd=path, check=False, timeout=60, **streams)  # type: ignore[call-overload]
    finally:
        os.close(writing)
    return done.returncode, done.stderr if stream == "stdout" else done.stdout


@pytest.mark.parametrize("words", [["schema"], ["--help"], ["ls", "--json"]], ids=" ".join)
def test_a_verb_whose_reader_is_gone_ends_without_a_word(words: list[str], tmp_path: Path) -> None:
    assert run_into_closed(tmp_path, "stdout", *words) == (ExitCode.READER_GONE, b"")


def test_so_does_one_that_has_only_talk_for_the_reader(tmp_path: Path) -> None:
    assert run_into_closed(tmp_path, "stderr", "ls") == (ExitCode.READER_GONE, b"")


def test_a_result_that_nobody_talks_over_is_whole(tmp_path: Path) -> None:
    code, out = run_into_closed(tmp_path, "stderr", "version")
    assert code == ExitCode.OK
    assert out.strip()
