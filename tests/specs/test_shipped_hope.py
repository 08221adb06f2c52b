"""The shipped HOPE campaigns mean what their comments say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from specs.data_clips import training_clips
from specs.load import load
from specs.run import RunSpec
from specs.trainer_hope import HopeTrainer
from specs.watch import Plateau
from trainers.hope.continual.protocol import JOINT, plan, tasks_of
from trainers.hope.model import Predictor

SPECS = Path(__file__).parents[2] / "specs"
PROFILES = {
    "hope_phases": ("laptop", "h200", "paper"),
    "hope_fixed": ("laptop", "small", "h200", "h200_continual", "paper"),
}
PROTOCOLS = [
    (campaign, profile, run)
    for campaign, profiles in PROFILES.items()
    for profile in profiles
    for run in load(SPECS / f"{campaign}.yaml", profile=profile).spec.runs
    if run != "d0"
]
ALL = "model.conditioning_bias_std model.special_init_last model.embedding_std model.memories.alpha_offset "
ALL += "model.memories.scope losses.isolate_state"
ONE_CHANGE = {
    "p5_bias": "model.conditioning_bias_std",
    "p5_retention": "model.memories.alpha_offset",
    "p5_per_sample": "model.memories.scope",
    "p5_isolated": "losses.isolate_state",
    "p5_init_last": "model.special_init_last",
    "p5_small_embeddings": "model.embedding_std",
    "p5_patches_only": "model.memories.skip_conditioning",
    "p5_rank1": "model.memories.preconditioner",
    "p5_slow_levels": "model.cms.scheduled model.cms.update_every",
    "p5_corrected": ALL,
}


@cache
def runs(campaign: str, profile: str) -> Mapping[str, RunSpec]:
    return load(SPECS / f"{campaign}.yaml", profile=profile).spec.runs


def trainer(campaign: str, profile: str, run: str) -> HopeTrainer:
    found = runs(campaign, profile)[run].trainer
    assert isinstance(found, HopeTrainer)
    return found


def differing(one: HopeTrainer, other: HopeTrainer) -> set[str]:
    """Dotted paths of the settings that are not the same."""
    left, right = (dict(_leaves(of.model_dump(mode="json"), "")) for of in (one, other))
    return {path for path in left.keys() | right.keys() if left.get(path) != right.get(path)}


def _leaves(node: Mapping[str, Any], within: str) -> list[tuple[str, Any]]:
    found = []
    for key, value in node.items():
        inner = isinstance(value, dict)
        found += _leaves(value, f"{within}{key}.") if inner else [(within + key, value)]
    return found


def evaluations(settings: HopeTrainer) -> list[int]:
    """How many points `val/jump` gets in each phase; a checkpoint is evaluated too."""
    held_out = settings.continual.held_out if settings.continual else 0
    clips = {
        task: training_clips(settings.data, task, held_out) or 0 for task in tasks_of(settings)
    }
    counts, first = [], 0
    for phase in plan(settings, clips):
        last = first + phase.steps
        every = (settings.validation.every, settings.checkpoints.every)
        due = {step for e in every for step in range(e, last + 1, e) if step > first} | {last}
        counts.append(len(due))
        first = last
    return counts


@pytest.mark.parametrize(("campaign", "profile", "run"), PROTOCOLS)
def test_a_stuck_jump_is_told_before_its_longest_phase_is_over(
    campaign: str, profile: str, run: str
) -> None:
    """A rule looks at one phase: with as many points as that has, or more, it would never speak."""
    [rule] = [r for r in runs(campaign, profile)[run].watch if isinstance(r, Plateau)]
    base, *later = evaluations(trainer(campaign, profile, run))
    assert max([0, *later]) <= rule.for_points < base


@pytest.mark.parametrize(("run", "settings"), ONE_CHANGE.items())
@pytest.mark.parametrize("profile", ["laptop", "h200", "paper"])
def test_a_corrected_run_differs_from_phase_5_in_its_correction_alone(
    profile: str, run: str, settings: str
) -> None:
    documented = trainer("hope_fixed", profile, "p5")
    assert differing(trainer("hope_fixed", profile, run), documented) == set(settings.split())


@pytest.mark.parametrize("profile", ["laptop", "h200", "paper"])
def test_the_two_runs_of_phase_2_differ_in_the_bias_of_conditioning_tokens_alone(
    profile: str,
) -> None:
    pair = [trainer("hope_fixed", profile, run) for run in ("p2_as_documented", "p2_bias")]
    assert differing(*pair) == {"model.conditioning_bias_std"}


@pytest.mark.parametrize("profile", ["laptop", "h200", "paper"])
def test_a_corrected_hybrid_has_the_corrections_and_an_auxiliary_loss_for_its_keys(
    profile: str,
) -> None:
    pair = [trainer("hope_fixed", profile, run) for run in ("hybrid", "hybrid_corrected")]
    assert differing(*pair) == {*ALL.split(), "losses.auxiliary"}


@pytest.mark.parametrize("run", runs("hope_fixed", "h200_continual"))
def test_the_comparison_on_a_gpu_learns_what_the_whole_campaign_would(run: str) -> None:
    """It is computed and kept otherwise, no more."""
    pair = [trainer("hope_fixed", profile, run) for profile in ("h200", "h200_continual")]
    only = {"compute.cuda_graphs", "checkpoints.every"}
    assert differing(*pair) == {*only, "checkpoints.keep_complete", "checkpoints.keep_certified"}


@pytest.mark.parametrize(
    ("run", "of_phases"), [("p2_bias", "p2"), ("p5", "p5"), ("hybrid", "hybrid")]
)
@pytest.mark.parametrize("profile", ["h200", "paper"])
def test_what_both_campaigns_have_is_the_same(profile: str, run: str, of_phases: str) -> None:
    pair = trainer("hope_fixed", profile, run), trainer("hope_phases", profile, of_phases)
    assert differing(*pair) == set()


def test_memories_go_without_an_auxiliary_loss_only_as_the_documents_have_it() -> None:
    without = {
        (campaign, run)
        for campaign, profile, run in PROTOCOLS
        if "H" in trainer(campaign, profile, run).model.pattern
        and trainer(campaign, profile, run).losses.auxiliary == 0
    }
    assert without == {("hope_phases", "hybrid"), ("hope_fixed", "hybrid")}


def test_the_first_shipped_model_has_as_many_tensors_as_documented() -> None:
    settings = trainer("hope_phases", "paper", "d0")
    with torch.device("meta"):
        model = Predictor(settings.model, grid=(16, 16), feature_width=1024, context=7)
    assert len(list(model.parameters())) == 282


@pytest.mark.parametrize(("campaign", "profile", "run"), PROTOCOLS)
def test_an_upper_bound_learns_all_tasks_at_once_and_nothing_else_does(
    campaign: str, profile: str, run: str
) -> None:
    continual = trainer(campaign, profile, run).continual
    assert continual is not None
    assert (continual.order == JOINT) == (run == "vit_upper")
