"""specs/ep_hopf.yaml: its runs mean what the documents say of them, in every profile."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from specs.load import Loaded, load
from specs.run import RunSpec
from specs.trainer_ep import Anchor, EpTrainer, Estimator, JacobianScope
from specs.watch import Action

FILE = Path(__file__).parents[2] / "specs" / "ep_hopf.yaml"
PROFILES = ("laptop", "h200", "h200_wide", "paper")
WHOLE = ("laptop", "paper")
"""Profiles with all runs of the file."""
DOCUMENTED = [
    "redx", "ep_eps05", "ep_jacreg", "ep_t2fix", "ep_resreg_warm", "ep_resreg_fast", "ep_resreg_c",
    "ep_rr_scratch",
]  # fmt: skip
TWINS = ["bptt_twin", "bptt_hinge"]
OURS = {
    "ep_plain", "ep_recipe", "ep_selfblock", "ep_hinge", "ep_hinge_lean", "ep_rescue", *TWINS,
}  # fmt: skip


@cache
def hopf(profile: str) -> Loaded:
    sets = ("defaults.trainer.data.path=/some/text",) if profile == "paper" else ()
    return load(FILE, profile=profile, sets=sets)


def run(profile: str, name: str) -> RunSpec:
    return hopf(profile).spec.runs[name]


def ep(profile: str, name: str) -> EpTrainer:
    trainer = run(profile, name).trainer
    assert isinstance(trainer, EpTrainer)
    return trainer


@pytest.mark.parametrize("profile", WHOLE)
def test_every_documented_run_is_there_with_the_recipe_and_its_twins(profile: str) -> None:
    runs = list(hopf(profile).spec.runs)
    assert runs[: len(DOCUMENTED)] == DOCUMENTED
    assert set(runs) - set(DOCUMENTED) == OURS


def test_the_h200_profiles_have_the_runs_of_the_comparison_alone() -> None:
    assert set(hopf("h200").spec.runs) == OURS
    assert set(hopf("h200_wide").spec.runs) == {"ep_hinge", "bptt_twin"}


@pytest.mark.parametrize("profile", WHOLE)
@pytest.mark.parametrize(
    ("name", "jacreg", "resreg", "t2sel"),
    [
        ("redx", (0.1, 0.1, 0.1), 0.0, None),
        ("ep_eps05", (0.1, 0.1, 0.1), 0.0, None),
        ("ep_jacreg", (0.1, 0.1, 16.0), 0.0, None),
        ("ep_t2fix", (0.1, 0.1, 0.1), 0.0, 160),
        ("ep_resreg_warm", (0.1, 0.1, 0.1), 0.2, 160),
        ("ep_resreg_fast", (0.1, 0.1, 0.1), 0.2, None),
        ("ep_resreg_c", (0.1, 0.1, 0.1), 0.2, None),
        ("ep_rr_scratch", (0.1, 0.1, 0.1), 0.2, None),
    ],
)
def test_a_documented_run_has_its_flags(
    profile: str, name: str, jacreg: tuple[float, ...], resreg: float, t2sel: int | None
) -> None:
    """``t2sel`` None: 40, that of the defaults and of the documents."""
    trainer = ep(profile, name)
    found = (trainer.jacreg.weight, trainer.jacreg.floor, trainer.jacreg.max)
    assert (found, trainer.resreg, trainer.res_gate) == (jacreg, resreg, 0.0)
    assert trainer.adjoint.max_steps == (t2sel or 40)
    assert trainer.adjoint.gate == 1e9
    assert trainer.hinge.ratio == 0
    assert trainer.relaxation.eps == (0.05 if name == "ep_eps05" else 0.1)
    assert trainer.estimator is (Estimator.EP if profile == "paper" else Estimator.RBP)


@pytest.mark.parametrize("profile", WHOLE)
def test_warm_runs_start_from_a_certified_checkpoint_of_the_documented_source(profile: str) -> None:
    sources = {
        name: spec.start.warm_from.run
        for name, spec in hopf(profile).spec.runs.items()
        if spec.start.warm_from
    }
    assert sources == {
        "ep_eps05": "redx",
        "ep_jacreg": "redx",
        "ep_resreg_warm": "redx",
        "ep_resreg_fast": "ep_eps05",
        "ep_resreg_c": "redx",
        "ep_rescue": "ep_plain",
    }


def test_the_documented_start_is_step_2000_which_has_a_checkpoint_with_its_spectrum() -> None:
    redx = ep("paper", "redx")
    for name in ("ep_eps05", "ep_jacreg", "ep_resreg_warm", "ep_resreg_c"):
        start = run("paper", name).start.warm_from
        assert start is not None
        assert start.step == 2000
    assert 2000 % (redx.checkpoints.every * redx.spectrum.every) == 0


def test_the_paper_profile_has_the_documented_size() -> None:
    trainer = ep("paper", "ep_rr_scratch")
    assert (trainer.width, trainer.heads, trainer.context, trainer.batch) == (512, 16, 256, 24)
    assert (trainer.steps, trainer.damping, trainer.ema) == (32_000, 1.0, 0.999)
    assert (trainer.data.kind, trainer.data.tokenizer) == ("text", "bpe")
    assert trainer.data.vocabulary == 4096
    assert trainer.adjoint.anchor is Anchor.TRACK
    assert [name for name in DOCUMENTED if ep("paper", name).compute.compile] == [
        "ep_resreg_c",
        "ep_rr_scratch",
    ]


def test_the_h200_profile_has_the_size_of_the_science() -> None:
    trainer = ep("h200", "ep_hinge")
    assert (trainer.width, trainer.heads, trainer.context, trainer.batch) == (256, 8, 128, 24)
    assert (trainer.relaxation.T1, trainer.relaxation.eps, trainer.damping) == (100, 0.1, 1.0)
    assert (trainer.optimizer.lr, trainer.optimizer.warmup) == (1e-3, 200)
    steps = {name: ep("h200", name).steps for name in hopf("h200").spec.runs}
    long = {"ep_hinge", *TWINS}
    assert {name for name, count in steps.items() if count == 5000} == long
    assert {count for name, count in steps.items() if name not in long} == {1500}
    wide = ep("h200_wide", "ep_hinge")
    assert (wide.width, wide.heads, wide.context, wide.batch) == (512, 16, 256, 24)


def test_every_checkpoint_of_a_long_run_stays_to_be_probed() -> None:
    for name in ("ep_hinge", *TWINS):
        trainer = ep("h200", name)
        assert trainer.checkpoints.keep_complete * trainer.checkpoints.every >= trainer.steps
        assert trainer.checkpoints.keep_certified * trainer.checkpoints.every >= trainer.steps


def test_the_h200_profiles_outlive_the_loss_of_the_machine_at_any_moment() -> None:
    for profile in ("h200", "h200_wide"):
        for spec in hopf(profile).spec.runs.values():
            assert spec.retry.from_scratch
            assert spec.retry.losses >= 10


def test_the_rescue_has_the_hinge_and_starts_near_the_wall() -> None:
    rescue, plain = ep("h200", "ep_rescue"), ep("h200", "ep_plain")
    assert rescue.hinge == ep("h200", "ep_hinge").hinge
    assert plain.checkpoints.every <= 25
    bands = run("h200", "ep_plain").certify.bands
    assert bands["spectrum/max_re_mu"].below == 0


@pytest.mark.parametrize("profile", ("h200", *WHOLE))
def test_the_hinge_is_alone_and_is_the_same_for_its_twin(profile: str) -> None:
    hinged, twin = ep(profile, "ep_hinge"), ep(profile, "bptt_hinge")
    assert hinged.hinge == twin.hinge
    assert (hinged.hinge.ratio, hinged.hinge.margin, hinged.hinge.power_steps) == (0.3, 0.5, 12)
    assert (hinged.resreg, hinged.jacreg.weight, hinged.homeostasis) == (0.0, 0.0, 0.0)
    assert [ep(profile, name).estimator for name in TWINS] == [Estimator.BPTT] * 2
    assert ep(profile, "bptt_twin").hinge.ratio == 0


@pytest.mark.parametrize("profile", ("gradient", *PROFILES))
def test_the_recipe_with_the_hinge_is_that_of_the_trainer_where_nothing_is_said(
    profile: str,
) -> None:
    default, recipe = EpTrainer(kind="ep"), ep(profile, "ep_hinge")
    assert (default.hinge.ratio, default.hinge.margin, default.hinge.every) == (0.3, 0.5, 2)
    for penalties in ("hinge", "jacreg", "resreg", "homeostasis", "weight_cap"):
        assert getattr(default, penalties) == getattr(recipe, penalties)
    assert default.adjoint.gate == recipe.adjoint.gate == 1.0


def test_the_gradient_profile_settles_every_equilibrium_and_keeps_five_checkpoints() -> None:
    assert list(hopf("gradient").spec.runs) == ["ep_hinge"]
    trainer = ep("gradient", "ep_hinge")
    assert trainer.relaxation.tolerance == 1e-6
    assert trainer.checkpoints.keep_complete * trainer.checkpoints.every == trainer.steps == 2000


@pytest.mark.parametrize("profile", PROFILES)
def test_the_runs_differ_only_in_what_their_names_say(profile: str) -> None:
    trainers = [ep(profile, name) for name in hopf(profile).spec.runs]
    shared = {(t.seed, t.width, t.batch, t.context, t.damping, t.objective) for t in trainers}
    assert len(shared) == 1
    assert len({(t.data, t.optimizer, t.validation, t.relaxation.T1) for t in trainers}) == 1
    if profile == "h200_wide":
        return
    recipe, selfblock = ep(profile, "ep_recipe"), ep(profile, "ep_selfblock")
    assert (recipe.jacreg.ratio, recipe.resreg) == (0.1, 0.2)
    assert (selfblock.jacreg.ratio, selfblock.resreg) == (0.1, 0.2)
    assert selfblock.jacreg.scope is JacobianScope.SELF
    plain = ep(profile, "ep_plain")
    assert (plain.resreg, plain.jacreg.weight, plain.hinge.ratio) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_run_is_warned_early_and_killed_when_it_blows_up(profile: str) -> None:
    for name, spec in hopf(profile).spec.runs.items():
        rules = {rule.model_dump()["rule"]: rule for rule in spec.watch}
        assert rules["divergence"].action is rules["non_finite"].action is Action.KILL
        early = rules["spectrum"]
        assert early.action is Action.ALERT
        assert early.model_dump()["metric"] == "spectrum/estimate"
        assert early.model_dump()["within_steps"] is not None
        assert ep(profile, name).spectrum.estimate_every > 0
