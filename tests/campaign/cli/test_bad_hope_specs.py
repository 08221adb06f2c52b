"""Settings of a HOPE run that cannot be: refused at submit, by file, line, column and field; nothing is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.errors import ExitCode
from tests.campaign.cli.conftest import Cli

GOOD: dict[str, str] = {
    "context": "7",
    "batch": "4",
    "steps": "4",
    "model": "{pattern: HT, width: 48, heads: 4}",
}
PROTOCOL = "{tasks: [scaling], held_out: 4}"

BAD = [
    ("model", "{width: 48, heads: 4, pattern: HXZ}", "pattern", ("unknown block 'X', 'Z'", "H (five")),
    ("model", "{pattern: TT, width: 48, heads: 5}", "heads", ("width (48)", "heads (5)")),
    ("model", "{pattern: UU, width: 50, heads: 4}", "heads", ("width (50)", "heads (4)")),
    ("model", "{memories: {detach_interval: -1}}", "detach_interval", ("got -1", "at least 0")),
    ("model", "{memories: {chunk_frames: -2}}", "chunk_frames", ("got -2", "at least 0")),
    ("model", "{cms: {mults: [2, 3], periods: [1]}}", "periods", ("periods has 1 entries, mults 2",)),
    ("losses", "{jump_last: 0}", "jump_last", ("got 0", "at least 1")),
    ("losses", "{jump_last: 8}", "jump_last", ("(8) is above context (7)",)),
    ("losses", "{rollout: 1, rollout_frames: 8}", "rollout_frames", ("(8) is above context (7)",)),
    ("context", "9", "context", ("context (9)", "data.frames of at least 10, not 8")),
    ("continual", "{tasks: [scaling, zebra]}", "tasks", ("no task 'zebra'", "allowed: scaling, ")),
    ("continual", "{tasks: [base]}", "tasks", ("base comes first by itself",)),
    ("continual", "{tasks: []}", "tasks", ("base comes first by itself",)),
    ("continual", "{tasks: [scaling], held_out: 199}", "held_out", ("held_out (199) of data.task_clips (200)",)),
    ("continual", "{tasks: [scaling], held_out: 0}", "held_out", ("got 0", "at least 1")),
    ("data", "{kind: clips, path: nowhere}", "path", ("no such directory", "a folder of clips")),
    ("data", "{grid: [0, 4]}", "grid", ("got 0", "at least 1")),
]  # fmt: skip


def written(directory: Path, field: str, value: str) -> Path:
    fields = {**GOOD, field: value}
    if field == "continual":
        del fields["steps"]
    lines = [f"      {name}: {of}" for name, of in fields.items()]
    head = ["schema_version: 1", "campaign: c", "runs:", "  a:", "    trainer:", "      kind: hope"]
    path = directory / "c.yaml"
    path.write_text("\n".join([*head, *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("field", "value", "at", "words"), BAD, ids=[f"{f} {v}" for f, v, *_ in BAD]
)
def test_what_cannot_be_is_refused_where_it_stands(
    cli: Cli, tmp_path: Path, field: str, value: str, at: str, words: tuple[str, ...]
) -> None:
    file = written(tmp_path, field, value)
    done = cli("submit", file, "--no-start")
    assert done.code == ExitCode.BAD_SPEC == 3
    (number,) = [
        n for n, line in enumerate(file.read_text().splitlines(), 1) if f" {field}: " in line
    ]
    first, *_ = done.err.splitlines()
    assert first.startswith(f"error: {file}:{number}:")
    assert at in first
    for word in words:
        assert word in done.err
    assert "nothing was submitted" in done.err
    assert not (tmp_path / "runs" / "campaign.db").exists()


def test_a_good_one_is_taken(cli: Cli, tmp_path: Path) -> None:
    assert cli("submit", written(tmp_path, "batch", "4"), "--no-start").code == ExitCode.OK
    other = tmp_path / "other"
    other.mkdir()
    done = cli("submit", written(other, "continual", PROTOCOL), "--dry-run")
    assert done.code == ExitCode.OK, done.err


def test_all_that_is_wrong_is_told_at_once_and_a_campaign_that_is_there_stays(
    cli: Cli, tmp_path: Path
) -> None:
    good = written(tmp_path, "batch", "4")
    assert cli("submit", good, "--no-start").code == ExitCode.OK
    before = cli("ls", "c", "--json").out
    good.write_text(good.read_text().replace("HT", "HX").replace("steps: 4", "steps: 0"))
    done = cli("submit", good, "--no-start")
    assert (done.code, "2 errors; nothing was submitted" in done.err) == (3, True)
    assert cli("ls", "c", "--json").out == before
