"""Laws of `campaign params`: the documented counts, a row a run, commands left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from campaign import children
from campaign.errors import ExitCode
from tests.campaign.cli.conftest import Cli

RUNS = """
schema_version: 1
campaign: sizes
profiles:
  wide: {runs: {first: {trainer: {model: {memories: {mult: 4}}}}}}
runs:
  first: {trainer: {kind: hope, steps: 1}}
  p5:
    trainer:
      kind: hope
      steps: 1
      model: {pattern: HHHHH, memories: {mult: 4}, spatial_mixing: true, temporal_embeddings: true,
              cms: {mults: [2.0, 2.5, 3.0], periods: [1, 3, 7]}}
  vit: {trainer: {kind: hope, steps: 1, model: {pattern: TTTTTTTTTTTTTTTTTTTTTTTT}}}
  block: {trainer: {kind: ep, steps: 1, width: 64, heads: 4, context: 32, ffn_factor: 4}}
  other: {trainer: {kind: command, argv: ["true"]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sizes.yaml"
    path.write_text(RUNS)
    return path


def test_each_run_has_the_documented_parameters(cli: Cli, file: Path) -> None:
    done = cli("params", file, "--json")
    answer = json.loads(done.out)
    rows = {row["run"]: row for row in answer["data"]}
    assert answer["schema"] == 1
    assert rows["first"]["groups"] == {
        "titan": 17_717_760, "cms": 21_282_048, "attention": 0, "projections": 2_572_672,
    }  # fmt: skip
    totals = {"first": 41_572_480, "p5": 43_553_512, "vit": 43_378_816}
    assert {run: rows[run]["total"] for run in totals} == totals
    assert all(sum(row["groups"].values()) == row["total"] for row in rows.values())
    C, F, T = 64, 256, 32
    block = rows["block"]["groups"]
    assert block["attention"] == 4 * C * C
    assert block["mlp"] == 2 * C * F + F + C
    assert block["layer_norms"] == 4 * C
    assert block["embeddings"] == block["readout"] + T * C
    assert list(rows) == ["first", "p5", "vit", "block"]
    assert "other: left out" in done.err


def test_the_table_has_a_row_a_run_and_a_profile_counts(cli: Cli, file: Path) -> None:
    plain, wide = cli("params", file).out, cli("params", file, "--profile", "wide").out
    head, *rows = plain.splitlines()
    assert head.split()[:2] == ["RUN", "TITAN"]
    assert [row.split()[0] for row in rows] == ["first", "p5", "vit", "block"]
    assert rows[0].split()[-1] == "41,572,480"
    assert f"next: campaign submit {file} --dry-run\n" in cli("params", file).err
    added = 6 * 5 * 2 * 384 * (2 * 384)
    assert wide.splitlines()[1].split()[-1] == f"{41_572_480 + added:,}"


def test_a_wrong_file_or_text_has_its_code(cli: Cli, tmp_path: Path) -> None:
    assert cli("params", tmp_path / "none.yaml").code == ExitCode.BAD_SPEC
    lost = tmp_path / "lost.yaml"
    lost.write_text(
        "schema_version: 1\ncampaign: c\nruns:\n"
        "  a: {trainer: {kind: ep, steps: 1, data: {path: /nowhere/at/all.txt}}}\n"
    )
    done = cli("params", lost)
    assert done.code == ExitCode.NOT_FOUND
    assert "/nowhere/at/all.txt" in done.err


def test_a_child_that_dies_is_told(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "run", lambda argv, environment: (-9, b""))
    done = cli("params", file)
    assert done.code == ExitCode.BUG
    assert "signal 9" in done.err
