"""The campaigns that are shipped: each is right, and means what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs.changes import apply_changes
from specs.errors import SpecErrors
from specs.here import check_here
from specs.load import Loaded, load
from specs.run import CampaignSpec
from specs.trainer_ep import EpTrainer, Estimator
from specs.watch import Action

SPECS = Path(__file__).parents[2] / "specs"
TEXT_OF_MINE = ("defaults.trainer.data.path=/some/text",)
TAKES = [
    ("ep_hopf.yaml", None, ()),
    ("ep_hopf.yaml", "laptop", ()),
    ("ep_hopf.yaml", "h200", ()),
    ("ep_hopf.yaml", "paper", TEXT_OF_MINE),
    ("ep_resreg.yaml", None, ()),
    ("ep_resreg.yaml", "laptop", ()),
    ("ep_resreg.yaml", "paper", TEXT_OF_MINE),
    ("command_example.yaml", None, ()),
    *(("hope_science.yaml", profile, ()) for profile in (None, "laptop", "h200", "h200_finite")),
    *(("hope_fixed.yaml", profile, ()) for profile in ("small", "h200_continual")),
    *(
        (f"hope_{of}.yaml", profile, ())
        for of in ("phases", "fixed")
        for profile in (None, "laptop", "h200", "paper")
    ),
]


def ep_resreg(profile: str, *sets: str) -> Loaded:
    return load(SPECS / "ep_resreg.yaml", profile=profile, sets=sets)


def ep(loaded: Loaded, run: str) -> EpTrainer:
    trainer = loaded.spec.runs[run].trainer
    assert isinstance(trainer, EpTrainer)
    return trainer


def test_every_shipped_campaign_is_tested_here() -> None:
    assert {path.name for path in SPECS.glob("*.yaml")} == {name for name, _, _ in TAKES}


@pytest.mark.parametrize(("name", "profile", "sets"), TAKES)
def test_a_shipped_campaign_loads_without_a_warning(
    name: str, profile: str | None, sets: tuple[str, ...]
) -> None:
    loaded = load(SPECS / name, profile=profile, sets=sets)
    assert loaded.warnings == ()
    assert loaded.spec.campaign == Path(name).stem


@pytest.mark.parametrize(("name", "profile", "sets"), TAKES)
def test_a_resolved_campaign_survives_json(
    name: str, profile: str | None, sets: tuple[str, ...]
) -> None:
    spec = load(SPECS / name, profile=profile, sets=sets).spec
    assert CampaignSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert CampaignSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(("name", "profile", "sets"), [take for take in TAKES if not take[2]])
def test_what_needs_no_file_of_the_user_can_run_here(
    name: str, profile: str | None, sets: tuple[str, ...]
) -> None:
    loaded = load(SPECS / name, profile=profile, sets=sets)
    assert check_here(loaded.spec, loaded.runs) == ()


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_the_five_runs_of_ep_resreg_are_what_the_experiment_needs(profile: str) -> None:
    loaded = ep_resreg(profile, *(TEXT_OF_MINE if profile == "paper" else ()))
    runs = loaded.spec.runs
    assert list(runs) == ["redx", "ep_plain_warm", "ep_resreg_warm", "ep_rr_scratch", "bptt_twin"]
    warm = {name: run.start.warm_from for name, run in runs.items()}
    assert {name for name, start in warm.items() if start} == {"ep_plain_warm", "ep_resreg_warm"}
    assert all(start.run == "redx" for start in warm.values() if start)
    penalties = {name: (ep(loaded, name).resreg, ep(loaded, name).jacreg.weight) for name in runs}
    assert penalties == {
        "redx": (0.2, 0.1),
        "ep_plain_warm": (0.0, 0.0),
        "ep_resreg_warm": (0.2, 0.1),
        "ep_rr_scratch": (0.2, 0.1),
        "bptt_twin": (0.0, 0.0),
    }
    assert ep(loaded, "bptt_twin").estimator is Estimator.BPTT
    compared = [ep(loaded, name) for name in runs if name != "redx"]
    assert len({(t.seed, t.steps, t.width, t.batch, t.context) for t in compared}) == 1


def test_every_rule_that_ends_the_control_brings_it_back_with_both_penalties() -> None:
    run = ep_resreg("laptop").spec.runs["ep_plain_warm"]
    fatal = [rule for rule in run.watch if rule.action in (Action.KILL, Action.ROLLBACK)]
    assert fatal
    for rule in fatal:
        assert rule.action is Action.ROLLBACK
        after = apply_changes(run, rule.set).trainer
        assert isinstance(after, EpTrainer)
        assert (after.resreg, after.jacreg.weight) == (0.2, 0.1)


@pytest.mark.parametrize(("profile", "bounds"), [("paper", {2.30, 2.20}), ("laptop", set())])
def test_the_bounds_of_the_documents_belong_to_the_paper_profile(
    profile: str, bounds: set[float]
) -> None:
    loaded = ep_resreg(profile, *(TEXT_OF_MINE if profile == "paper" else ()))
    for run in loaded.spec.runs.values():
        alerts = [r for r in run.watch if r.rule == "threshold" and r.action is Action.ALERT]
        assert alerts
        assert {r.model_dump()["below"] for r in alerts} & {2.30, 2.20} == bounds


def test_the_paper_profile_is_the_documented_recipe() -> None:
    loaded = ep_resreg("paper", *TEXT_OF_MINE)
    trainer = ep(loaded, "ep_rr_scratch")
    assert (trainer.width, trainer.heads, trainer.context, trainer.batch) == (512, 16, 256, 24)
    assert (trainer.steps, trainer.ema, trainer.damping) == (32_000, 0.999, 1.0)
    assert (trainer.relaxation.T1, trainer.relaxation.t1max) == (150, 300)
    assert (trainer.adjoint.max_steps, trainer.adjoint.radius) == (40, 0.02)
    optimizer = trainer.optimizer
    assert (optimizer.lr, optimizer.warmup, optimizer.decay_fraction) == (6e-4, 800, 0.25)
    assert (trainer.data.tokenizer, trainer.data.vocabulary) == ("bpe", 4096)
    assert (trainer.res_gate, trainer.qk_norm, trainer.init_scale) == (0.0, True, 0.1)
    assert loaded.spec.runs["ep_rr_scratch"].resources.gpus == 1


def test_the_paper_profile_without_a_text_says_how_to_give_one() -> None:
    with pytest.raises(SpecErrors) as caught:
        ep_resreg("paper")
    (error,) = caught.value.errors
    assert error.where == "profiles.paper.trainer.data.tokenizer"
    assert "--set defaults.trainer.data.path=FILE" in error.allowed
