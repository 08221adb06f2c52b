"""Laws of settings that change nothing: they are told where they were written, and nobody is told of one that counts."""

from __future__ import annotations

from typing import Any

import pytest

from specs.hope_idle import OF_LETTERS, OF_OPTIMIZERS, idle
from specs.load import load_text
from specs.trainer_hope import LETTERS, HopeTrainer


def hope(**fields: Any) -> HopeTrainer:
    return HopeTrainer.model_validate({"kind": "hope", "steps": 1, **fields})


def warnings(run: str, *, defaults: str = "{}", more: str = "", **options: Any) -> tuple[str, ...]:
    """Of a campaign with a run ``a`` whose trainer says ``run``, and other runs in ``more``."""
    text = f"""campaign: c
defaults: {{trainer: {defaults}}}
runs:
  a: {{trainer: {{kind: hope, steps: 1, {run}}}, certify: {{metric: val/jump}}}}
{more}"""
    return load_text(text, name="c.yaml", **options).warnings


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("model: {pattern: TT, memories: {mult: 4}}", "trainer.model.memories.mult 4"),
        ("model: {pattern: TT, cms: {scheduled: true}}", "trainer.model.cms.scheduled true"),
        ("model: {pattern: TT, spatial_mixing: true}", "no H block"),
        ("model: {pattern: TUT, spatial_mixing: true}", "no H block"),
        ("model: {pattern: TT}, losses: {auxiliary: 0.2}", "trainer.losses.auxiliary 0.2"),
        ("model: {pattern: TT}, losses: {isolate_state: false}", "isolate_state false"),
        ("model: {pattern: TT}, optimizer: {titan_scale: 0.1}", "no H or U block"),
        ("model: {pattern: HH, heads: 4}", "pattern HH has no T or U block"),
        ("model: {pattern: HH, rope: off}", "trainer.model.rope"),
        ("model: {pattern: HUH, mlp_ratio: 2}", "pattern HUH has no T block"),
        ("optimizer: {m3_alpha: 0.1}", "optimizer.kind is adamw, not m3"),
        ("optimizer: {kind: m3, momentum: 0.9}", "optimizer.kind is m3, not muon"),
        ("losses: {rollout_frames: 3}", "losses.rollout is 0"),
        ("losses: {jump: 0, jump_last: 2}", "losses.jump is 0"),
        ("model: {embedding_std: 1}", "model.temporal_embeddings is false"),
    ],
)
def test_a_setting_that_changes_nothing_is_told_with_its_line_and_the_reason(
    written: str, says: str
) -> None:
    (warning,) = warnings(written)
    assert warning.startswith("c.yaml:4:")
    assert says in warning
    assert "it changes nothing" in warning


@pytest.mark.parametrize(
    "written",
    [
        "model: {pattern: HT, memories: {mult: 4}, cms: {scheduled: true}, heads: 4, mlp_ratio: 2}",
        "model: {pattern: U, memories: {mult: 4}, rope: off}, losses: {auxiliary: 0.2}",
        "model: {pattern: H, spatial_mixing: true, temporal_embeddings: true, embedding_std: 1}",
        "model: {pattern: TT, spatial_mixing: false}, losses: {auxiliary: 0}",
        "optimizer: {kind: m3, m3_alpha: 0.1}",
        "optimizer: {kind: muon, momentum: 0.9}",
        "losses: {rollout: 1, rollout_frames: 3}",
    ],
)
def test_a_setting_that_counts_or_that_switches_nothing_off_is_not_told(written: str) -> None:
    assert warnings(written) == ()


def test_the_settings_of_one_section_are_told_together() -> None:
    memories = "mult: 4, eta_max: 0.5, chunk_frames: 2, write_clip: 2, alpha_offset: 1"
    (warning,) = warnings(f"model: {{pattern: T, memories: {{{memories}}}}}")
    assert "trainer.model.memories.mult 4" in warning
    assert "and 1 more" in warning


def test_what_shared_settings_say_is_told_only_where_no_run_makes_anything_of_it() -> None:
    shared = "{model: {memories: {mult: 4}}}"
    other = "  b: {{trainer: {{kind: hope, steps: 1, model: {{pattern: {0}}}}}}}\n"
    attention = "model: {pattern: TT}"
    assert warnings(attention, defaults=shared, more=other.format("HH")) == ()
    (warning,) = warnings(attention, defaults=shared, more=other.format("T"))
    assert warning.startswith("c.yaml:2:")
    assert "it reaches every run" in warning


def test_of_a_profile_that_leaves_runs_out_what_is_shared_says_nothing_useless() -> None:
    text = """campaign: c
defaults: {trainer: {kind: hope, steps: 1, model: {pattern: TT, memories: {mult: 4}}}}
profiles: {p: {only: [a]}}
runs:
  a: {trainer: {losses: {isolate_state: false}}}
  b: {trainer: {model: {pattern: HH}}}
"""
    (warning,) = load_text(text, name="c.yaml", profile="p").warnings
    assert "isolate_state" in warning


def test_a_setting_of_the_command_line_is_told_by_its_option() -> None:
    (warning,) = warnings("model: {pattern: TT}", sets=["a.trainer.model.memories.mult=4"])
    assert warning.startswith("--set a.trainer.model.memories.mult=4")


def test_learning_all_clips_at_once_makes_nothing_of_rates_and_replay_of_later_tasks() -> None:
    continual = "{order: joint, task_lr: 1e-3, replay: {buffer: 60}}"
    text = f"""campaign: c
runs:
  a: {{trainer: {{kind: hope, model: {{pattern: TT}}, continual: {continual}}}}}
"""
    found = " ".join(load_text(text, name="c.yaml").warnings)
    assert "trainer.continual.task_lr 0.001" in found
    assert "trainer.continual.replay.buffer 60" in found


@pytest.mark.parametrize("letter", LETTERS)
def test_a_pattern_of_every_letter_alone_reads_what_is_of_its_blocks(letter: str) -> None:
    told = {path for path, _ in idle(hope(model={"pattern": letter}))}
    for letters, fields in OF_LETTERS.items():
        assert (letter in letters) == told.isdisjoint(fields)


@pytest.mark.parametrize(
    "path",
    [path for table in (OF_LETTERS, OF_OPTIMIZERS) for paths in table.values() for path in paths],
)
def test_what_may_be_idle_is_a_setting_that_there_is(path: str) -> None:
    value: Any = hope()
    for name in path.split("."):
        value = getattr(value, name)
