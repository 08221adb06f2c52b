"""The shipped phases have the documented parameters (hope.md §1.9), at the documented sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.campaign.cli.conftest import Cli

PHASES = Path(__file__).parents[3] / "specs" / "hope_phases.yaml"


@pytest.fixture
def sizes(cli: Cli) -> dict[str, dict[str, int]]:
    """Parameters by run and group, and `total`, of the profile `paper`."""
    answer = json.loads(cli("params", PHASES, "--profile", "paper", "--json").out)
    return {row["run"]: {**row["groups"], "total": row["total"]} for row in answer["data"]}


def test_the_shipped_phases_have_the_documented_parameters(
    sizes: dict[str, dict[str, int]],
) -> None:
    assert {run: groups["total"] for run, groups in sizes.items()} == {
        "d0": 41_572_480,
        "p1": 41_572_480,
        "p2": 41_572_480,
        "p3": 40_991_872,
        "p4": 42_877_120,
        "p5": 43_553_512,
        "hybrid": 43_874_848,
        "vit_lower": 43_378_816,
        "vit_upper": 43_378_816,
    }


def test_the_groups_of_the_first_shipped_run_have_the_documented_sizes(
    sizes: dict[str, dict[str, int]],
) -> None:
    assert sizes["d0"] == {
        "titan": 17_717_760,
        "cms": 21_282_048,
        "attention": 0,
        "projections": 2_572_672,
        "total": 41_572_480,
    }


def test_what_phase_5_adds_to_phase_4_is_mixing_and_embeddings(
    sizes: dict[str, dict[str, int]],
) -> None:
    """In each of five blocks two matrices of 258 x 258 and a layer norm; two tables of nine rows."""
    mixing, layer_norm, embeddings = 133_128, 2 * 384, 6_912
    before, after = sizes["p4"], sizes["p5"]
    added = {group: after[group] - before[group] for group in after}
    assert added["projections"] == added["total"] == 5 * (mixing + layer_norm) + embeddings
    assert added["titan"] == added["cms"] == added["attention"] == 0
