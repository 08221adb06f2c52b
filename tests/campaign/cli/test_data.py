"""Laws of `campaign data`: one table or one JSON answer, errors with their codes, clips that stay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from campaign import clip_making
from campaign.clip_making import EncodeClips, Made, MakeClips
from campaign.errors import ExitCode
from specs.data_clips import TASKS
from tests.campaign.cli.conftest import Cli
from tests.support.hosts import until

ROW = Made(task="base", clips=9, made=4, kept=5, folder="/f/base", contact_sheet="/f/base/c.png")
SMALL = ("--grid", "2x2", "--feature-width", 8, "--frames", 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[MakeClips | EncodeClips]:
    """What was to be written; the answer is one row."""
    seen: list[MakeClips | EncodeClips] = []

    def write(ask, at, *, threads, progress):
        seen.append(ask)
        progress("base", 5, 9)
        progress("base", 9, 9)
        return (ROW,)

    monkeypatch.setattr(clip_making, "write", write)
    return seen


def test_made_clips_are_a_table_and_progress_is_talk(cli: Cli, asked) -> None:
    done = cli("data", "make", "base", "--out", "d")
    head, row = done.out.splitlines()
    assert head.split() == ["TASK", "CLIPS", "NEW", "PICTURE"]
    assert row.split() == ["base", "9", "4", "/f/base/c.png"]
    assert "base: 9 of 9 clips" in done.err


def test_json_has_every_field_in_the_envelope(cli: Cli, asked) -> None:
    done = cli("data", "make", "base", "--out", "d", "--json")
    assert json.loads(done.out) == {
        "schema": 1,
        "data": [
            {
                "task": "base", "clips": 9, "made": 4, "kept": 5, "folder": "/f/base",
                "contact_sheet": "/f/base/c.png",
            }
        ],
    }  # fmt: skip


def test_options_reach_the_order(cli: Cli, tmp_path: Path, asked) -> None:
    cli("data", "make", "scaling", "base", "--out", "d", "--clips", 7, "--grid", "4x6", "--seed", 3)
    assert asked == [
        MakeClips(tasks=("scaling", "base"), out=str(tmp_path / "d"), clips=7, grid=(4, 6), seed=3)
    ]


@pytest.mark.parametrize("words", [["friction"], ["base", "friction"]])
def test_friction_is_the_whole_data_set(cli: Cli, asked, words: list[str]) -> None:
    cli("data", "make", *words, "--out", "d")
    assert asked[0].tasks == TASKS


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gravity", "--out", "d"], "there are base, scaling"),
        (["base"], "--out"),
        (["base", "--out", "d", "--grid", "4"], "for instance 4x4; got '4'"),
        (["base", "--out", "d", "--grid", "0x4"], "1 to 64 each"),
        (["base", "--out", "d", "--clips", "0"], "--clips"),
        (["--out", "d"], "TASK"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    cli: Cli, asked, words: list[str], says: str
) -> None:
    done = cli("data", "make", *words)
    assert done.code == ExitCode.USAGE
    assert says in done.err
    assert not asked


def test_encode_sends_whole_paths(cli: Cli, tmp_path: Path, asked) -> None:
    cli("data", "encode", "v", "--checkpoint", "c", "--out", "o", "--device", "cpu")
    assert asked == [
        EncodeClips(
            videos=str(tmp_path / "v"), checkpoint=str(tmp_path / "c"), out=str(tmp_path / "o")
        )
    ]


def test_clips_are_really_made_kept_and_guarded(cli: Cli, tmp_path: Path) -> None:
    first = cli("data", "make", "base", "--out", "d", "--clips", 2, *SMALL, "--json")
    assert json.loads(first.out)["data"][0]["made"] == 2
    assert (tmp_path / "d" / "base" / "contact_sheet.png").exists()
    again = cli("data", "make", "base", "--out", "d", "--clips", 3, *SMALL, "--json")
    assert [json.loads(again.out)["data"][0][name] for name in ("made", "kept")] == [1, 2]
    other = cli("data", "make", "base", "--out", "d", *SMALL, "--seed", 1)
    assert other.code == ExitCode.WRONG_STATE
    assert "seed 0, asked for 1" in other.err


def test_ctrl_c_leaves_whole_clips_and_no_child(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "campaign.cli.main", "data", "make", "base", "--out", str(tmp_path / "d"),
        "--clips", "200000", "--grid", "2x2", "--feature-width", "8",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
        start_new_session=True,
    ) as parent:  # fmt: skip
        clip = tmp_path / "d" / "base" / "clip_00003"
        until(lambda: clip.exists() or parent.poll() is not None, "a few clips", 60)
        os.killpg(parent.pid, signal.SIGINT)
        _, err = parent.communicate(timeout=60)
    assert parent.returncode == ExitCode.INTERRUPTED
    assert "whole clips stay" in err
    assert np.load(clip / "feature_maps" / "vjepa2_vitl16.npy").shape == (8 * 4, 8)
    with pytest.raises(ProcessLookupError):
        os.killpg(parent.pid, 0)
