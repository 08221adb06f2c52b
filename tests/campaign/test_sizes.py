"""Laws of what is said about the size of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from campaign.sizes import other_profiles, ratio, size_of, steps_of, work_of


def _ep(**trainer: Any) -> dict[str, Any]:
    return {"trainer": {"kind": "ep", **trainer}, "resources": {"gpus": 0, "cpus": 1}}


def _command(**resources: int) -> dict[str, Any]:
    return {"trainer": {"kind": "command", "argv": ["true"]}, "resources": resources}


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([_ep(steps=600, width=64)], "1 run of ep: 600 steps, width 64, 1 CPU slot"),
        (
            [_ep(steps=300, width=64), _ep(steps=32000, width=64)],
            "2 runs of ep: 300 to 32,000 steps, width 64, 1 CPU slot each",
        ),
        ([_command(gpus=2), _command(cpus=4)], "2 runs of command: 2 GPUs or 4 CPU slots each"),
        (
            [_command(), _ep(steps=1, width=2)],
            "2 runs of command+ep: 1 step, width 2, 1 CPU slot each",
        ),
    ],
)
def test_a_size_names_runs_steps_width_and_devices(runs: list[dict[str, Any]], text: str) -> None:
    assert size_of(runs) == text


def test_twice_the_width_is_four_times_the_work() -> None:
    assert work_of([_ep(width=128)]) == pytest.approx(4 * (work_of([_ep(width=64)]) or 0))


def _hope(**trainer: Any) -> dict[str, Any]:
    given = {"kind": "hope", "data": {"clips": 120, "task_clips": 60}, "batch": 4, **trainer}
    return {"trainer": given, "resources": {"gpus": 0, "cpus": 1}}


PROTOCOL = {"tasks": ["scaling"], "base_epochs": 2, "task_epochs": 1, "held_out": 20}


def test_a_protocol_has_the_steps_of_all_its_phases() -> None:
    """(120 - 20) .9 = 90 clips twice and (60 - 20) .9 = 36 once, by 4."""
    assert steps_of(_hope(continual=PROTOCOL)["trainer"]) == 45 + 9
    joint = _hope(continual={**PROTOCOL, "order": "joint"})["trainer"]
    assert steps_of(joint) == 63
    sized = _hope(continual=PROTOCOL, model={"width": 96, "heads": 4})
    assert size_of([sized]) == "1 run of hope: 54 steps, width 96, 1 CPU slot"


def test_how_many_clips_a_folder_has_only_the_folder_knows() -> None:
    run = _hope(data={"kind": "clips", "path": "/x"}, continual=PROTOCOL)
    assert steps_of(run["trainer"]) is None
    assert work_of([run]) is None
    assert size_of([run]) == "1 run of hope: 1 CPU slot"


def test_twice_the_blocks_are_twice_the_work() -> None:
    def work(pattern: str) -> float:
        return work_of([_hope(steps=10, model={"pattern": pattern})]) or 0

    assert work("HHHH") == pytest.approx(2 * work("HH"))
    assert work_of([_hope(steps=10), _ep()]) is None


def test_the_work_of_a_program_is_not_known() -> None:
    assert work_of([_ep(), _command()]) is None
    assert ratio(None, 1.0) == ""


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (1.5, ""),
        (3.0, "about 3 times the work"),
        (123_456.0, "about 120,000 times the work"),
        (0.01, "about 1/100 of the work"),
    ],
)
def test_a_ratio_has_two_digits_and_is_left_out_where_it_says_little(
    work: float, text: str
) -> None:
    assert ratio(work, 1.0) == text


def test_the_profiles_not_taken_are_sized_even_where_they_could_not_be_submitted() -> None:
    text = """
campaign: c
profiles:
  small: {trainer: {width: 64, heads: 4, steps: 10}}
  big: {trainer: {width: 512, steps: 32000, data: {tokenizer: bpe}}}
defaults: {trainer: {kind: ep}}
runs: {a: {}}
"""
    others = other_profiles(text, "small", Path("/"))
    assert list(others) == ["big"]
    assert size_of(others["big"]) == "1 run of ep: 32,000 steps, width 512, 1 CPU slot"
