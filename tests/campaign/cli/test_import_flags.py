"""Law: a documented command line becomes a campaign file, or is refused with everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign.errors import ExitCode
from specs.load import load, load_text
from tests.campaign.cli.conftest import Cli

LINE = "--mode ep --attn_mode thick --C 64 --H 4 --track --qknorm"


@pytest.mark.parametrize("words", [[LINE], LINE.split()], ids=["in quotes", "without quotes"])
def test_the_campaign_is_printed(words: list[str], cli: Cli) -> None:
    done = cli("import-flags", *words, "--name", "mine")
    assert done.code == 0
    assert list(load_text(done.out).spec.runs) == ["mine"]


def test_it_is_written_to_a_file_but_never_over_one(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    first = cli("import-flags", LINE, "--out", out)
    content = out.read_text()
    again = cli("import-flags", f"{LINE} --C 128", "--out", out)
    assert (first.code, first.out) == (0, "")
    assert load(out).spec.campaign == "imported"
    assert again.code == ExitCode.WRONG_STATE
    assert "is not written over" in again.err
    assert out.read_text() == content


def test_a_file_that_cannot_be_written_is_told(cli: Cli, tmp_path: Path) -> None:
    done = cli("import-flags", LINE, "--out", tmp_path / "none" / "x.yaml")
    assert done.code == ExitCode.NOT_FOUND
    assert "cannot be written" in done.err


def test_everything_that_cannot_be_carried_over_is_told_and_nothing_written(
    cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "x.yaml"
    done = cli("import-flags", "--mode ep --attn_mode mono --jacreq 1 --hr 0", "--out", out)
    assert done.code == ExitCode.BAD_SPEC
    assert (done.out, out.exists()) == ("", False)
    assert done.err.splitlines()[-1] == "3 errors; no campaign was made"
    for part in ("`mono`", "Use thick", "did you mean `--jacreg`?", "--hr 0"):
        assert part in done.err


def test_a_run_of_ones_own_is_named_in_place_of_a_foreign_checkpoint(cli: Cli) -> None:
    done = cli("import-flags", f"{LINE} --init_ckpt s2000.pt", "--warm-from", "ep_hopf/redx")
    assert done.code == 0
    start = load_text(done.out).spec.runs["imported"].start.warm_from
    assert start is not None
    assert (start.campaign, start.run) == ("ep_hopf", "redx")
