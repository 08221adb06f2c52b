"""A command line of the documented trainer becomes a campaign that means the same, or is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.documented_flags import FLAGS, Takes, as_yaml, read_flags
from specs.errors import SpecError, SpecErrors
from specs.import_flags import import_flags
from specs.load import load, load_text
from specs.run import RunSpec
from specs.scalars import resolve
from specs.trainer_ep import OLDER_BLOCKS, EpTrainer

HOPF = Path(__file__).parents[2] / "specs" / "ep_hopf.yaml"
LEAST = "--mode ep --attn_mode thick"
RECIPE = (
    "--mode ep --attn_mode thick --B 24 --C 512 --H 16 --T 256 --c 1.0 --jacreg .1 --jr_floor .1 "
    "--jr_max .1 --holo 2 --hr .02 --t2sel 40 --track --pema .999 --t1max 300 --res_est 1e-4 "
    "--res_gate 0 --resreg .2 --qknorm --resinit .1 --warmup 800 --T1 150 --T2 20 --lr 6e-4 "
    "--wsd .25 --steps 32000"
)
OF_THE_PROFILE = {"validation", "checkpoints", "spectrum", "log_every"}
"""How often is measured is ours to say: the documented trainer has no flags for it."""


def run_of(line: str, **options: Any) -> RunSpec:
    loaded = load_text(import_flags(line, **options), base=Path("/"))
    (run,) = loaded.spec.runs.values()
    return run


def trainer_of(line: str, **options: Any) -> EpTrainer:
    trainer = run_of(line, **options).trainer
    assert isinstance(trainer, EpTrainer)
    return trainer


def setting(run: RunSpec, path: str) -> Any:
    found: Any = run
    for part in path.split("."):
        found = getattr(found, part)
    return found


def wrong(line: str, **options: Any) -> dict[str, SpecError]:
    """What is wrong, by the flag that it is told under."""
    with pytest.raises(SpecErrors) as caught:
        import_flags(line, **options)
    assert caught.value.exit_code == 3
    return {error.file: error for error in caught.value.errors}


def test_the_recipe_is_ep_rr_scratch_of_the_paper_profile() -> None:
    """Both ways: what the line gives, and what the campaign file says, differ in nothing."""
    spec = load(HOPF, profile="paper", sets=["defaults.trainer.data.path=/some/text"]).spec
    written = spec.runs["ep_rr_scratch"].trainer.model_dump(exclude=OF_THE_PROFILE)
    line = f"{RECIPE} --compile --data /some/text"
    assert trainer_of(line).model_dump(exclude=OF_THE_PROFILE) == written


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("redx", "--resreg 0"),
        ("ep_eps05", "--resreg 0 --eps .05"),
        ("ep_jacreg", "--resreg 0 --jr_max 16 --res_target 1.5e-3"),
        ("ep_t2fix", "--resreg 0 --t2sel 160"),
        ("ep_resreg_warm", "--t2sel 160"),
        ("ep_resreg_fast", ""),
        ("ep_resreg_c", "--compile"),
        ("bptt_twin", "--mode bptt --resreg 0 --jacreg 0 --jr_floor 0 --jr_max 0"),
    ],
)
def test_each_documented_run_is_the_recipe_with_its_flags_changed(name: str, changes: str) -> None:
    spec = load(HOPF, profile="paper", sets=["defaults.trainer.data.path=/some/text"]).spec
    found = trainer_of(f"{RECIPE} --data /some/text {changes}").model_dump(exclude=OF_THE_PROFILE)
    written = spec.runs[name].trainer.model_dump(exclude=OF_THE_PROFILE)
    if name == "bptt_twin":  # it has no penalty, so no limits of one either
        found["jacreg"] |= {"floor": None, "max": None}
    assert found == written


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        ("--B 7", "trainer.batch", 7),
        ("--C 64 --H 4", "trainer.width", 64),
        ("--H 8", "trainer.heads", 8),
        ("--T 32", "trainer.context", 32),
        ("--c .5", "trainer.damping", 0.5),
        ("--qknorm", "trainer.qk_norm", True),
        ("", "trainer.qk_norm", False),
        ("--resinit .2", "trainer.init_scale", 0.2),
        ("--T1 50", "trainer.relaxation.T1", 50),
        ("--t1max 400", "trainer.relaxation.t1max", 400),
        ("--res_est 1e-5", "trainer.relaxation.tolerance", 1e-5),
        ("--holo 0", "trainer.estimator", "ep"),
        ("--holo 2", "trainer.estimator", "ep"),
        ("--holo 4", "trainer.estimator", "holomorphic"),
        ("--holo 8", "trainer.adjoint.points", 8),
        ("--hr .05", "trainer.adjoint.radius", 0.05),
        ("--holo 2 --t2sel 160 --T2 20", "trainer.adjoint.max_steps", 160),
        ("--holo 0 --t2sel 160 --T2 20", "trainer.adjoint.max_steps", 20),
        ("--T2 20", "trainer.adjoint.max_steps", 20),
        ("--track", "trainer.adjoint.anchor", "track"),
        ("", "trainer.adjoint.anchor", "frozen"),
        ("--navg 4 --fnoise .01", "trainer.adjoint.average", 4),
        ("--fnoise .01", "trainer.fnoise", 0.01),
        ("--jacreg .3", "trainer.jacreg.weight", 0.3),
        ("--jacreg .1 --jr_floor .05", "trainer.jacreg.floor", 0.05),
        ("--jacreg .1 --jr_max 16", "trainer.jacreg.max", 16.0),
        ("--res_target 2e-3", "trainer.jacreg.target", 2e-3),
        ("--resreg .2", "trainer.resreg", 0.2),
        ("--res_gate .01", "trainer.res_gate", 0.01),
        ("--lr 1e-3", "trainer.optimizer.lr", 1e-3),
        ("--warmup 100", "trainer.optimizer.warmup", 100),
        ("--wsd .5", "trainer.optimizer.decay_fraction", 0.5),
        ("--steps 99", "trainer.steps", 99),
        ("--pema .9", "trainer.ema", 0.9),
        ("--compile", "trainer.compute.compile", True),
        ("", "trainer.compute.compile", False),
        ("--eps .05", "trainer.relaxation.eps", 0.05),
        ("--adaptive_eps", "trainer.relaxation.adaptive", True),
        ("--solver anderson", "trainer.relaxation.solver", "anderson"),
        ("--objective finite_T", "trainer.objective", "finite_T"),
        ("--estimator rbp", "trainer.estimator", "rbp"),
        ("--estimator exact --precision float64", "trainer.adjoint.precision", "float64"),
        ("--adj_tol .05", "trainer.adjoint.tolerance", 0.05),
        ("--adj_every 5", "trainer.adjoint.check_every", 5),
        ("--adj_gate 2", "trainer.adjoint.gate", 2.0),
        ("", "trainer.adjoint.gate", 1e9),
        ("", "trainer.hinge.ratio", 0.0),
        ("--seed 3", "trainer.seed", 3),
        ("--data 'my text.txt'", "trainer.data.path", "/my text.txt"),
        ("--data x", "trainer.data.vocabulary", 4096),
        ("--mode bptt", "trainer.estimator", "bptt"),
        ("--mode=bptt --C=256", "trainer.width", 256),
        ("--C 256 --C 128", "trainer.width", 128),
    ],
)
def test_a_flag_becomes_its_setting(flags: str, path: str, value: Any) -> None:
    assert setting(run_of(f"{LEAST} {flags}"), path) == value


def test_every_flag_is_tried_above() -> None:
    (mark,) = [m for m in test_a_flag_becomes_its_setting.pytestmark if m.name == "parametrize"]
    tried = {name for flags, _, _ in mark.args[1] for name in read_flags(flags)[0]}
    assert tried | {"attn_mode", "ckpt", "init_ckpt", "tf32"} == set(FLAGS)


@pytest.mark.parametrize("flag", [flag for flag in FLAGS.values() if flag.fields], ids=str)
def test_every_field_that_a_flag_names_is_a_setting(flag: Any) -> None:
    warm = run_of(LEAST, warm_from="c/r")
    for field in flag.fields:
        setting(warm, field)


def test_what_stands_around_a_pasted_line_is_passed_over() -> None:
    pasted = (
        "CUDA_VISIBLE_DEVICES=0 python3 lt_ep_train.py \\\n  --mode ep \\\n --attn_mode thick # x"
    )
    assert trainer_of(pasted) == trainer_of(LEAST)


def test_a_run_of_ones_own_takes_the_place_of_a_foreign_checkpoint() -> None:
    line = f"{LEAST} --init_ckpt runs/redx/s2000.pt"
    assert "--warm-from CAMPAIGN/RUN" in wrong(line)["--init_ckpt runs/redx/s2000.pt"].allowed
    start = run_of(line, warm_from="ep_hopf/redx").start.warm_from
    assert start is not None
    assert (start.campaign, start.run) == ("ep_hopf", "redx")
    assert "CAMPAIGN/RUN" in wrong(line, warm_from="redx")["--warm-from redx"].allowed


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--tf32", "--tf32: left out"),
        ("--ckpt runs/x.pt", "--ckpt runs/x.pt: left out"),
        ("--hr .02", "--hr .02: absolute there"),
        ("--holo 2 --T2 20", "--T2 20: it belongs to the plain path"),
        ("--res_gate .01", "--res_gate .01: gates the task part only here"),
        ("", "Without --data FILE"),
        ("--mode bptt --track", "--track: bptt has no phases"),
    ],
)
def test_what_is_left_out_or_read_differently_is_told_at_the_head(flags: str, told: str) -> None:
    lines = import_flags(f"{LEAST} {flags}").splitlines()
    head = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    assert told in head


@pytest.mark.parametrize(
    ("line", "flag", "got", "allowed", "hint"),
    [
        (f"{LEAST} --jacreq .1", "--jacreq", "an unknown flag", "must be one of: --jacreg",
         "did you mean `--jacreg`?"),
        (f"{LEAST} --gelu", "--gelu", "a flag without a counterpart", "no effect", ""),
        (f"{LEAST} --C", "--C", "no value", "must be followed by a whole number", ""),
        (f"{LEAST} --C --H 4", "--C", "no value", "must be followed by a whole number", ""),
        (f"{LEAST} --C 51.2", "--C", "'51.2'", "must be a whole number", ""),
        (f"{LEAST} --lr fast", "--lr", "'fast'", "must be a number", ""),
        (f"{LEAST} --lr nan", "--lr", "'nan'", "must be a number", ""),
        (f"{LEAST} --track yes", "yes", "a word after --track that belongs to no flag",
         "leave it out", ""),
        (f"{LEAST} --qknorm=1", "--qknorm", "'1'", "must stand without a value", ""),
        ("--mode ep", "--attn_mode", "nothing", "say --attn_mode thick", ""),
        ("--attn_mode thick", "--mode", "nothing", "must be one of: ep, bptt", ""),
        ("--mode bppt --attn_mode thick", "--mode", "'bppt'", "must be one of: ep, bptt",
         "did you mean `bptt`?"),
        ("--mode ep --attn_mode thik", "--attn_mode thik", "an unknown block", "must be thick",
         "did you mean `thick`?"),
        (f"{LEAST} --holo 3", "--holo 3", "3", "must be 0, 2, 4 or 8", ""),
        (f"{LEAST} --estimator bptt", "--estimator bptt", "not one of --mode ep",
         "must be one of: rbp, ep, holomorphic, exact", ""),
        (f"{LEAST} --mode bptt --estimator rbp", "--estimator rbp", "not one of --mode bptt",
         "must be one of: bptt, bptt_tail", ""),
        (f"{LEAST} --t2sel 0 --holo 2", "--t2sel 0", "0", "must be at least 1", ""),
        (f"{LEAST} --t2sel 0 --holo 0 --T2 20", "--t2sel 0", "0", "must be at least 1", ""),
        (f"{LEAST} --holo 2 --T2 -1", "--T2 -1", "-1", "must be at least 1", ""),
        (f"{LEAST} --hr 0", "--hr 0", "0", "must be greater than 0", ""),
        (f"{LEAST} --T1 400", "--T1 400", "400", "t1max (300) is below T1 (400)", ""),
        (f"{LEAST} --T1 400 --t1max 350", "--t1max 350", "350", "t1max (350) is below T1", ""),
        (f"{LEAST} --navg 4", "--navg 4", "4", "fnoise is 0", ""),
        (f"{LEAST} --C 100 --H 16", "--H 16", "16", "must be a whole multiple of heads", ""),
        (f"{LEAST} --solver newton", "--solver newton", "'newton'", "must be one of: euler", ""),
        (f"{LEAST} 'half", "the command line", "No closing quotation", "must be one line", ""),
        ("", "the command line", "no flag", "must have at least --mode ep", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_under_its_flag(
    line: str, flag: str, got: str, allowed: str, hint: str
) -> None:
    errors = wrong(line)
    assert list(errors) == [flag]
    assert got in errors[flag].got
    assert allowed in errors[flag].allowed
    assert errors[flag].hint == hint


@pytest.mark.parametrize("block", OLDER_BLOCKS)
def test_an_older_mode_is_refused_by_name(block: str) -> None:
    (error,) = wrong(f"--mode ep --attn_mode {block}").values()
    assert "not built. Use thick" in error.allowed


def test_everything_wrong_is_told_at_once() -> None:
    errors = wrong("--mode train --attn_mode real --jacreq .1 --C x --init_ckpt a.pt --hr 0")
    assert set(errors) == {
        "--mode", "--attn_mode real", "--jacreq", "--C", "--init_ckpt a.pt", "--hr 0",
    }  # fmt: skip


def test_a_wrong_name_is_told_as_such() -> None:
    assert "a-z 0-9" in wrong(LEAST, name="My Run")["--name My Run"].allowed


@pytest.mark.parametrize("name", ["1e5", "true", "null", "0x10", "2026"])
def test_a_name_stays_text_whatever_yaml_would_make_of_it(name: str) -> None:
    assert load_text(import_flags(LEAST, name=name)).spec.campaign == name


@given(st.text(max_size=20))
def test_a_text_written_as_yaml_is_read_as_that_text(text: str) -> None:
    written = as_yaml(text)
    assert written.startswith('"') or resolve(written) == text


NUMBERS = st.one_of(
    st.integers(-3, 600).map(str), st.floats(-1, 600, allow_nan=False).map(repr), st.just("x")
)
WORDS = st.one_of(
    st.sampled_from(sorted(FLAGS)).flatmap(
        lambda name: (
            st.just(f"--{name}")
            if FLAGS[name].takes is Takes.NOTHING
            else st.one_of(NUMBERS, st.text(max_size=6).map(shlex.quote)).map(
                lambda value: f"--{name} {value}"
            )
        )
    ),
    st.sampled_from(["--mode ep", "--mode bptt", "--attn_mode thick", "--unknown 3", "stray"]),
)


@given(st.lists(WORDS, max_size=8))
def test_any_line_gives_a_campaign_that_loads_or_an_explanation(words: list[str]) -> None:
    try:
        text = import_flags(" ".join([LEAST, *words]))
    except SpecErrors as errors:
        assert all(error.got and error.allowed for error in errors.errors)
    else:
        assert load_text(text).spec.campaign == "imported"
