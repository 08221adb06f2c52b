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
PROFILES = ("laptop", "h200", "paper")
DOCUMENTED = [
    "redx", "ep_eps05", "ep_jacreg", "ep_t2fix", "ep_resreg_warm", "ep_resreg_fast", "ep_resreg_c",
    "ep_rr_scratch",
]  # fmt: skip
TWINS = ["bptt_twin", "bptt_hinge"]


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


@pytest.mark.parametrize("profile", PROFILES)
def test_every_documented_run_is_there_with_the_recipe_and_its_twins(profile: str) -> None:
    runs = list(hopf(profile).spec.runs)
    assert runs[: len(DOCUMENTED)] == DOCUMENTED
    assert {"ep_plain", "ep_selfblock", "ep_hinge", *TWINS} == set(runs) - set(DOCUMENTED)


@pytest.mark.parametrize("profile", PROFILES)
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
    """``t2sel`` None: that of the profile, 40 in the documents."""
    trainer = ep(profile, name)
    found = (trainer.jacreg.weight, trainer.jacreg.floor, trainer.jacreg.max)
    assert (found, trainer.resreg, trainer.res_gate) == (jacreg, resreg, 0.0)
    usual = 60 if profile == "h200" else 40
    assert trainer.adjoint.max_steps == (t2sel or usual)
    assert trainer.adjoint.gate == 1e9
    assert trainer.hinge.ratio == 0
    assert trainer.relaxation.eps == (0.05 if name == "ep_eps05" else 0.1)
    assert trainer.estimator is (Estimator.EP if profile == "paper" else Estimator.RBP)


@pytest.mark.parametrize("profile", PROFILES)
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
    assert (trainer.checkpoints.every, trainer.validation.every) == (250, 100)
    steps = {name: ep("h200", name).steps for name in hopf("h200").spec.runs}
    long = {"ep_hinge", *TWINS}
    assert {name for name, count in steps.items() if count == 5000} == long
    assert {count for name, count in steps.items() if name not in long} == {1500}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_hinge_is_alone_and_is_the_same_for_its_twin(profile: str) -> None:
    hinged, twin = ep(profile, "ep_hinge"), ep(profile, "bptt_hinge")
    assert hinged.hinge == twin.hinge
    assert (hinged.hinge.ratio, hinged.hinge.margin, hinged.hinge.power_steps) == (0.3, 0.5, 12)
    assert (hinged.resreg, hinged.jacreg.weight, hinged.homeostasis) == (0.0, 0.0, 0.0)
    assert [ep(profile, name).estimator for name in TWINS] == [Estimator.BPTT] * 2
    assert ep(profile, "bptt_twin").hinge.ratio == 0


@pytest.mark.parametrize("profile", PROFILES)
def test_the_runs_differ_only_in_what_their_names_say(profile: str) -> None:
    trainers = [ep(profile, name) for name in hopf(profile).spec.runs]
    shared = {(t.seed, t.width, t.batch, t.context, t.damping, t.objective) for t in trainers}
    assert len(shared) == 1
    assert len({(t.data, t.optimizer, t.validation, t.relaxation.T1) for t in trainers}) == 1
    assert ep(profile, "ep_selfblock").jacreg.scope is JacobianScope.SELF
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
