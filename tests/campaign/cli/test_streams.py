"""Laws of the standard streams: closed, full or cut off, the verb's work is done and no traceback is shown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.errors import ExitCode
from tests.campaign.cli.conftest import campaign_file

CAMPAIGN = f"{sys.executable} -m campaign.cli.main"


def shell(line: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line], cwd=path, check=False, timeout=60, capture_output=True, text=True
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_keeps_no_verb_from_its_work(closed: str, tmp_path: Path) -> None:
    campaign_file(tmp_path)
    done = shell(f"{CAMPAIGN} submit c.yaml --no-start {closed}", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (ExitCode.OK, False)
    listed = shell(f"{CAMPAIGN} ls --json", tmp_path)
    assert '"campaign": "c"' in listed.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_the_results_is_told_with_its_code(tmp_path: Path) -> None:
    campaign_file(tmp_path)
    done = shell(f"{CAMPAIGN} submit c.yaml --no-start > /dev/full", tmp_path)
    assert done.returncode == ExitCode.PARTLY_DONE
    assert "standard output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert '"campaign": "c"' in shell(f"{CAMPAIGN} ls --json", tmp_path).stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_the_talk_changes_nothing_of_the_result(tmp_path: Path) -> None:
    campaign_file(tmp_path)
    done = shell(f"{CAMPAIGN} submit c.yaml --no-start 2> /dev/full", tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.OK, "submitted c: 1 run\n")


SLOW = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "campaign.cli.app":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from campaign.cli.main import main
main()
"""


def test_ctrl_c_while_the_verbs_are_loaded_has_its_code_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW], cwd=tmp_path, check=False, timeout=60, capture_output=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.INTERRUPTED, b"", b"")


@pytest.mark.parametrize("columns", ["1", "40", "0", "x", "99999999999"])
def test_any_width_is_taken(columns: str, tmp_path: Path) -> None:
    campaign_file(tmp_path)
    shell(f"{CAMPAIGN} submit c.yaml --no-start", tmp_path)
    done = subprocess.run(
        [*CAMPAIGN.split(), "ls"], cwd=tmp_path, env={**os.environ, "COLUMNS": columns},
        check=False, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == ExitCode.OK
    assert "Traceback" not in done.stderr
