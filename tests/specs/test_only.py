"""``--only RUN``: some runs of a file, of those that its profile takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specs.errors import SpecError
from specs.load import load_text

One = Callable[..., SpecError]

TEXT = """campaign: a
profiles:
  p:
    only: [a, b, c]
defaults: {trainer: {kind: ep, steps: 10}}
runs:
  a: {}
  b: {start: {warm_from: {run: a, checkpoint: certified}}}
  c: {start: {warm_from: {run: b, checkpoint: certified}}}
  d: {start: {warm_from: {campaign: other, run: a, checkpoint: certified}}}
"""


def runs(*only: str, **options: object) -> list[str]:
    return list(load_text(TEXT, only=only, **options).spec.runs)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", [None, "p"])
def test_the_chosen_runs_are_taken_in_the_order_of_the_file(profile: str | None) -> None:
    assert runs("a", profile=profile) == ["a"]
    assert runs("b", "a", profile=profile) == ["a", "b"]
    assert runs("a", "a", profile=profile) == ["a"]


def test_without_a_choice_all_runs_of_the_profile_are_taken() -> None:
    assert runs() == ["a", "b", "c", "d"]
    assert runs(profile="p") == ["a", "b", "c"]


def test_a_chosen_run_means_what_it_means_among_all() -> None:
    every = load_text(TEXT, sets=("defaults.trainer.steps=7",)).spec.runs
    some = load_text(TEXT, only=("a", "d"), sets=("defaults.trainer.steps=7",)).spec.runs
    assert dict(some) == {name: every[name] for name in ("a", "d")}


def test_a_run_that_the_file_does_not_have_is_refused_with_the_nearest(one: One) -> None:
    text = TEXT.replace("  a: {}", "  alone: {}").replace("run: a,", "run: alone,")
    error = one(text.replace("[a, b, c]", "[alone, b, c]"), only=("alon",))
    assert error.location == "--only alon"
    assert error.got == "the run `alon`"
    assert "alone" in error.hint


def test_a_run_that_the_profile_leaves_out_is_refused_and_said_to_be(one: One) -> None:
    error = one(TEXT, only=("d",), profile="p")
    assert error.got == "the run `d`, which the profile leaves out"
    assert error.allowed == "must be one of: a, b, c"


@pytest.mark.parametrize(
    ("only", "names"),
    [(("c",), "--only b --only a"), (("b",), "--only a"), (("c", "b"), "--only a")],
)
def test_what_a_chosen_run_starts_warm_from_must_be_chosen_too(
    one: One, only: tuple[str, ...], names: str
) -> None:
    error = one(TEXT, only=only)
    assert error.where == f"runs.{only[-1]}.start.warm_from.run"
    assert "--only leaves out" in error.got
    assert error.hint == f"add {names}"


def test_a_run_that_starts_warm_from_another_campaign_needs_no_other() -> None:
    assert runs("d") == ["d"]


def test_a_warm_start_may_be_pointed_to_the_campaign_that_has_its_source() -> None:
    sets = ("b.start.warm_from.campaign=a",)
    assert runs("b", sets=sets, as_name="new") == ["b"]


def test_settings_of_the_profile_for_a_run_that_is_not_chosen_are_no_error() -> None:
    text = TEXT.replace("    only: [a, b, c]\n", "    runs: {c: {priority: 1}}\n")
    assert list(load_text(text, profile="p", only=("a",)).spec.runs) == ["a"]


def test_a_chosen_run_that_is_no_map_is_one_error(one: One) -> None:
    assert one(TEXT.replace("d: {start", "e: 3\n  d: {start"), only=("e",)).where == "runs.e"


def test_a_setting_of_a_run_that_is_not_chosen_is_refused(one: One) -> None:
    error = one(TEXT, only=("a",), sets=("b.trainer.steps=3",))
    assert error.got == "the run `b`, which --only leaves out"
    assert error.hint == "add --only b, or leave this out"


def test_what_is_wrong_in_a_run_that_is_not_chosen_hinders_none() -> None:
    text = TEXT.replace("  a: {}", "  a: {trainer: {steps: 0}}").replace("c: {start", "c: {strt")
    assert list(load_text(text, only=("d",)).spec.runs) == ["d"]


IDLE = """campaign: c
profiles:
  shared: {trainer: {model: {memories: {mult: 4}}}}
  single: {runs: {a: {trainer: {model: {memories: {mult: 4}}}}}}
defaults: {trainer: {kind: hope, steps: 1, model: {pattern: TT}}}
runs:
  a: {}
  b: {trainer: {model: {pattern: HH}}}
"""


@pytest.mark.parametrize(("profile", "told"), [("shared", False), ("single", True)])
def test_what_the_profile_says_for_other_runs_too_is_not_called_useless(
    profile: str, told: bool
) -> None:
    warnings = load_text(IDLE, profile=profile, only=("a",)).warnings
    assert any("memories.mult" in warning for warning in warnings) == told


def test_a_setting_for_all_from_the_command_line_is_meant_for_the_chosen_runs() -> None:
    sets = ("defaults.trainer.model.memories.eta_max=0.5",)
    warnings = load_text(IDLE, profile="single", only=("a",), sets=sets).warnings
    assert any(text.startswith(f"--set {sets[0]}: got") for text in warnings)
