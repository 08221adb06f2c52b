"""``only`` of a profile: which runs it takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specs.errors import SpecError
from specs.load import load_text

One = Callable[..., SpecError]

TEXT = """campaign: a
profiles:
  all: {}
  p:
    only: %s
    trainer: {steps: 20}
defaults: {trainer: {kind: ep, steps: 10}}
runs:
  a: {}
  b: {}
  c: {start: {warm_from: {run: a, checkpoint: certified}}}
"""


def runs(only: str, profile: str = "p", **options: object) -> dict[str, int]:
    spec = load_text(TEXT % only, profile=profile, **options).spec  # type: ignore[arg-type]
    return {name: run.trainer.model_dump()["steps"] for name, run in spec.runs.items()}


def test_a_profile_takes_the_runs_that_it_names_in_the_order_of_the_file() -> None:
    assert list(runs("[c, a]").items()) == [("a", 20), ("c", 20)]
    assert list(runs("[c, a]", "all")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("only", "got", "allowed"),
    [
        ("[a, x]", "the run `x`", "a, b, c"),
        ("[1]", "1", "a, b, c"),
        ("[]", "an empty list", "at least one"),
        ("a", "'a'", "must be a list of runs"),
    ],
)
@pytest.mark.parametrize("profile", ["p", "all"])
def test_an_only_that_names_no_run_is_refused_whatever_profile_is_taken(
    one: One, profile: str, only: str, got: str, allowed: str
) -> None:
    error = one(TEXT % only, profile=profile)
    assert (error.line, error.got) == (5, got)
    assert allowed in error.allowed


def test_a_warm_start_from_a_run_that_is_left_out_is_refused(one: One) -> None:
    error = one(TEXT % "[c]", profile="p")
    assert (error.line, error.where) == (11, "runs.c.start.warm_from.run")


def test_a_set_for_a_run_that_is_left_out_is_refused_and_one_for_all_reaches_the_others(
    one: One,
) -> None:
    error = one(TEXT % "[a]", profile="p", sets=["b.trainer.steps=3"])
    assert error.got == "the run `b`, which the profile leaves out"
    assert runs("[a]", sets=["defaults.trainer.steps=3"]) == {"a": 3}


def test_settings_of_a_profile_for_a_run_that_it_leaves_out_are_refused(one: One) -> None:
    text = (TEXT % "[a]").replace("steps: 20}", "steps: 20}\n    runs: {b: {priority: 1}}")
    error = one(text, profile="p")
    assert (error.line, error.got) == (7, "the run `b`")
