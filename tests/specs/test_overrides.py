"""``--set RUN.path=value``: over everything that is written, and wrong ones named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from specs.errors import SpecError
from specs.load import load_text

One = Callable[..., SpecError]

TEXT = """
campaign: a
profile: p
profiles: {p: {trainer: {steps: 20}}}
defaults:
  trainer: {kind: ep, steps: 10}
  watch: [{name: up, rule: threshold, metric: val/ce, above: 1}]
  certify: {bands: {residual/T1: {below: 0.1}}}
runs:
  a: {trainer: {steps: 30}, resources: {gpus: 1, pin: [0, 3]}}
  a.b: {}
  cmd:
    trainer: {kind: command, argv: ['true'], metrics: {declared: [val/ce, residual/T1]}}
"""


def run(name: str, *sets: str) -> Any:
    return load_text(TEXT, sets=sets).spec.runs[name].model_dump()


@pytest.mark.parametrize(
    ("sets", "a", "a_b"),
    [
        ((), 30, 20),
        (("defaults.trainer.steps=40",), 40, 40),
        (("a.trainer.steps=50",), 50, 20),
        (("defaults.trainer.steps=40", "a.trainer.steps=50"), 50, 40),
        (("a.trainer.steps=50", "defaults.trainer.steps=40"), 50, 40),
        (("a.trainer.steps=50", "a.trainer.steps=60"), 60, 20),
        (("defaults.trainer.steps=40", "defaults.trainer.steps=41"), 41, 41),
        (("a.b.trainer.steps=70",), 30, 70),
    ],
)
def test_a_set_for_a_run_beats_a_set_for_all_which_beats_all_that_is_written(
    sets: tuple[str, ...], a: int, a_b: int
) -> None:
    assert run("a", *sets)["trainer"]["steps"] == a
    assert run("a.b", *sets)["trainer"]["steps"] == a_b


def test_a_trainer_setting_for_all_skips_runs_of_another_trainer() -> None:
    assert run("cmd", "defaults.trainer.steps=40")["trainer"]["kind"] == "command"


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("a.priority=5", ("priority",), 5),
        ("a.limits.timeout=2h", ("limits", "timeout"), 7200),
        ("a.trainer.jacreg.weight=1e-3", ("trainer", "jacreg", "weight"), 1e-3),
        ("a.trainer.jacreg={weight: 0.5, every: 2}", ("trainer", "jacreg", "every"), 2),
        ("a.trainer.qk_norm=false", ("trainer", "qk_norm"), False),
        ("a.trainer.data.path=/x=y", ("trainer", "data", "path"), "/x=y"),
        ("a.start.warm_from.run=a.b", ("start", "warm_from", "run"), "a.b"),
        ("a.watch.up.above=7", ("watch", 0, "above"), 7),
        ("a.watch=[]", ("watch",), ()),
        ("a.resources.pin.1=5", ("resources", "pin"), (0, 5)),
        ("a.resources.pin=[GPU-1f]", ("resources", "pin"), ("GPU-1f",)),
        (
            "a.certify.bands.residual/T1.below=0.3",
            ("certify", "bands", "residual/T1", "below"),
            0.3,
        ),
    ],
)
def test_a_dotted_path_names_a_field_a_rule_or_a_place_in_a_list(
    setting: str, path: tuple[str | int, ...], value: object
) -> None:
    found = run("a", setting)
    for step in path:
        found = found[step]
    assert found == value


@pytest.mark.parametrize(
    ("setting", "got", "allowed", "hint"),
    [
        ("a", "'a'", "must be RUN.path=value", ""),
        ("a=3", "'a=3'", "must be RUN.path=value", ""),
        ("a.priority", "'a.priority'", "must be RUN.path=value", ""),
        ("=3", "the path ''", "single dots", ""),
        ("a..priority=3", "the path 'a..priority'", "single dots", ""),
        ("b.priority=3", "the run `b`", "must be one of: a, a.b, cmd, defaults", ""),
        ("default.priority=3", "the run `default`", "defaults", "did you mean `defaults`?"),
        ("cmd.priority=", "no value", "must have a value after the =", "an empty text"),
        ("cmd.priority=[1", "what is no YAML", "the reader says", ""),
        ("cmd.priority=.nan", "'.nan'", "must be a finite number", ""),
        ("cmd.priority=\0", "a NUL character", "must be printable text", ""),
        ("cmd.priority=x", "'x'", "must be a whole number", ""),
        ("cmd.priorty=1", "the unknown field `priorty`", "priority", "did you mean `priority`?"),
        ("cmd.priority.x=1", "a map", "must be a whole number", ""),
        ("a.trainer.steps.x=1", "`x` below `steps`", "has nothing below it", ""),
        ("a.watch.upp.above=3", "`upp` in `watch`", "must be one of: up", "did you mean `up`?"),
        ("a.resources.pin.2=3", "`2` in `pin`", "must be one of: 0, 1", ""),
        ("defaults.watch.upp.above=3", "`upp` in `watch`", "must be one of: up", "did you mean"),
    ],
)
def test_a_wrong_set_is_named_as_it_was_typed(
    one: One, setting: str, got: str, allowed: str, hint: str
) -> None:
    error = one(TEXT, sets=[setting])
    assert error.file == f"--set {setting}"
    assert error.line is None
    assert error.got == got
    assert allowed in error.allowed
    assert error.hint.startswith(hint)
    assert error.render().startswith(" ".join(f"--set {setting}: got ".splitlines()))


def test_a_rule_of_a_run_without_rules_is_not_made_by_a_path(one: One) -> None:
    text = "campaign: a\nruns: {r: {trainer: {kind: ep}}}\n"
    error = one(text, sets=["r.watch.0.above=3"])
    assert (error.got, error.allowed) == ("`0` in `watch`", "`watch` has no entries")
    assert error.hint == "give it whole: watch=[{...}]"


def test_a_set_that_no_run_takes_is_an_error(one: One) -> None:
    text = "campaign: a\ndefaults: {trainer: {kind: ep}}\nruns: {r: {trainer: {kind: command, argv: [x]}}}\n"
    error = one(text, sets=["defaults.trainer.steps=1"])
    assert error.got == "a trainer setting that no run takes"


def test_an_unknown_profile_asked_for_is_named(one: One) -> None:
    error = one(TEXT, profile="q")
    assert (error.file, error.got) == ("--profile q", "the profile 'q'")
    assert error.allowed == "must be one of: p"


@pytest.mark.parametrize(("written", "hint"), [("lptop", "did you mean `laptop`?"), ("paper", "")])
def test_an_unknown_profile_in_the_file_is_named_with_its_line(
    one: One, written: str, hint: str
) -> None:
    error = one(
        f"campaign: a\nprofile: {written}\nprofiles: {{laptop: {{}}}}\n"
        "runs: {r: {trainer: {kind: ep}}}\n"
    )
    assert (error.line, error.column, error.hint) == (2, 10, hint)


def test_a_slip_in_a_profile_that_is_not_taken_is_found_too(one: One) -> None:
    error = one(
        "campaign: a\nprofile: p\nprofiles:\n  p: {}\n  q: {trainer: {stps: 3}}\n"
        "runs: {r: {trainer: {kind: ep}}}\n"
    )
    assert (error.line, error.column, error.where) == (5, 17, "profiles.q.trainer.stps")


def test_what_a_profile_lacks_is_asked_for_only_when_it_is_taken(one: One) -> None:
    text = (
        "campaign: a\nprofiles:\n  p: {trainer: {data: {tokenizer: bpe, vocabulary: 300}}}\n"
        "runs: {r: {trainer: {kind: ep}}}\n"
    )
    assert load_text(text).profile is None
    error = one(text, profile="p")
    assert (error.line, error.column) == (3, 35)
    assert "--set defaults.trainer.data.path=FILE" in error.allowed
    assert load_text(text, profile="p", sets=["defaults.trainer.data.path=/x"]).profile == "p"
