"""Laws of laying layers over each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.errors import Place, SpecErrors
from specs.load import load_text
from specs.merge import merge_maps, merge_rules, merge_run, rule_name_of
from specs.tree import Items, Table, plain, table_of

HERE = Place(source="here")

# a key says what lies under it, as fields do: m* holds maps, v* values, l* lists
values = st.integers(0, 3)
maps = st.recursive(
    st.dictionaries(st.sampled_from(["v1", "v2"]), values, max_size=2),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "v1": values,
            "v2": values,
            "l1": st.lists(values, max_size=2),
            "m1": inner,
            "m2": inner,
        },
    ),
    max_leaves=6,
)
rules = st.lists(
    st.builds(lambda name, tries: {"name": name, "tries": tries}, st.sampled_from("abcd"), values),
    unique_by=lambda rule: rule["name"],
    max_size=4,
)
trainers = st.fixed_dictionaries({"kind": st.just("ep")}, optional={"v1": values, "m1": maps})
layers = st.fixed_dictionaries({}, optional={"trainer": trainers, "watch": rules, "m3": maps})


def tree(value: dict[str, Any]) -> Table:
    return table_of(value, HERE)


def over(lower: dict[str, Any], upper: dict[str, Any]) -> Any:
    return plain(merge_run(tree(lower), tree(upper)))


@given(layers)
def test_an_empty_layer_changes_nothing(layer: dict[str, Any]) -> None:
    assert over({}, layer) == layer == over(layer, {})


@given(layers)
def test_a_layer_over_itself_is_itself(layer: dict[str, Any]) -> None:
    assert over(layer, layer) == layer


@given(layers, layers, layers)
def test_three_layers_merge_alike_from_either_end(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
) -> None:
    """Where every layer is of one trainer kind and has maps and values in the same places."""
    assert over(over(a, b), c) == over(a, over(b, c))


@given(maps, maps)
def test_what_the_upper_map_says_holds_and_the_rest_is_the_lower_one(
    a: dict[str, Any], b: dict[str, Any]
) -> None:
    merged: Any = plain(merge_maps(tree(a), tree(b)))
    assert merged.keys() == a.keys() | b.keys()
    for key, value in merged.items():
        if key not in b:
            assert value == a[key]
        elif key not in a or key[0] in "vl":
            assert value == b[key]


@given(rules, rules)
def test_rules_add_up_and_equal_names_are_replaced_in_place(
    a: list[dict[str, Any]], b: list[dict[str, Any]]
) -> None:
    lower, upper = tree({"w": a}).get("w"), tree({"w": b}).get("w")
    assert isinstance(lower, Items)
    assert isinstance(upper, Items)
    merged = [plain(item) for item in merge_rules(lower, upper).items]
    names = [rule["name"] for rule in a]
    by_name = {rule["name"]: rule for rule in b}
    kept = [by_name.get(rule["name"], rule) for rule in a]
    assert merged == kept + [rule for rule in b if rule["name"] not in names]


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ({"rule": "silence"}, "silence"),
        ({"rule": "threshold", "metric": "val/CE", "below": 2}, "threshold.val.ce"),
        ({"rule": "threshold", "metric": "val/ce", "name": "mine"}, "mine"),
        ({"metric": "val/ce"}, None),
        ({"rule": "silence", "name": 3}, None),
    ],
)
def test_a_rule_goes_by_its_own_name_or_by_kind_and_metric(
    rule: dict[str, Any], name: str | None
) -> None:
    assert rule_name_of(tree(rule)) == name


LAYERED = """
campaign: a
profile: p
profiles:
  p:
    trainer: {steps: 20, jacreg: {weight: 0.2}}
    resources: {hosts: [b]}
    watch: [{rule: silence, for_seconds: 2m}]
  q: {trainer: {steps: 30}}
defaults:
  trainer: {kind: ep, seed: 1, steps: 10, jacreg: {weight: 0.1, every: 5}}
  resources: {hosts: [a, c]}
  watch:
    - {rule: silence, for_seconds: 1m}
    - {name: up, rule: threshold, metric: val/ce, above: 1}
runs:
  plain: {}
  own:
    trainer: {steps: 40}
    watch:
      - {name: up, rule: threshold, metric: val/ce, above: 3}
      - {rule: non_finite}
  other: {trainer: {kind: command, argv: ['true'], metrics: {declared: [val/ce]}}}
"""


def test_a_run_is_defaults_then_profile_then_its_own() -> None:
    runs = load_text(LAYERED).spec.runs
    trainer = runs["plain"].trainer.model_dump()
    assert (trainer["seed"], trainer["steps"]) == (1, 20)
    assert (trainer["jacreg"]["weight"], trainer["jacreg"]["every"]) == (0.2, 5)
    assert runs["own"].trainer.model_dump()["steps"] == 40
    assert runs["plain"].resources.hosts == ("b",)


def test_rules_come_from_all_layers_and_a_name_holds_once() -> None:
    runs = load_text(LAYERED).spec.runs
    silence, up = runs["plain"].watch
    assert silence.model_dump()["for_seconds"] == 120
    assert up.model_dump()["above"] == 1
    assert [rule.rule for rule in runs["own"].watch] == ["silence", "threshold", "non_finite"]
    assert runs["own"].watch[1].model_dump()["above"] == 3


def test_a_run_of_another_trainer_takes_no_trainer_settings_but_all_others() -> None:
    other = load_text(LAYERED).spec.runs["other"]
    assert other.trainer.model_dump(exclude_unset=True).keys() == {"kind", "argv", "metrics", "cwd"}
    assert other.resources.hosts == ("b",)
    assert len(other.watch) == 2


@pytest.mark.parametrize(("profile", "steps"), [(None, 20), ("p", 20), ("q", 30)])
def test_the_profile_is_the_one_asked_for_else_the_one_in_the_file(
    profile: str | None, steps: int
) -> None:
    loaded = load_text(LAYERED, profile=profile)
    assert loaded.profile == loaded.spec.profile == (profile or "p")
    assert loaded.spec.runs["plain"].trainer.model_dump()["steps"] == steps


def test_profiles_of_which_none_is_taken_are_mentioned() -> None:
    loaded = load_text(LAYERED.replace("profile: p\n", ""), name="c.yaml")
    assert loaded.warnings == ("c.yaml: no profile is chosen, so none of p, q holds",)
    assert loaded.spec.runs["plain"].trainer.model_dump()["steps"] == 10


def test_what_a_profile_says_of_one_run_holds_for_that_run_under_that_profile_alone() -> None:
    text = """\
campaign: c
profiles:
  short: {trainer: {steps: 10}, runs: {a: {trainer: {steps: 5}}}}
  long: {trainer: {steps: 90}}
defaults: {trainer: {kind: ep}}
runs: {a: {trainer: {steps: 20}}, b: {}}
"""
    steps = {
        profile: {
            name: run.trainer.steps  # type: ignore[union-attr]
            for name, run in load_text(text, profile=profile).spec.runs.items()
        }
        for profile in ("short", "long")
    }
    assert steps == {"short": {"a": 5, "b": 10}, "long": {"a": 20, "b": 90}}


@pytest.mark.parametrize("chosen", ["p", "q"])
def test_a_profile_for_a_run_that_is_not_there_is_refused_even_if_not_chosen(chosen: str) -> None:
    text = """\
campaign: c
profiles:
  p: {runs: {readx: {priority: 1}}}
  q: {}
defaults: {trainer: {kind: ep}}
runs: {redx: {}}
"""
    with pytest.raises(SpecErrors) as caught:
        load_text(text, profile=chosen, name="c.yaml")
    assert [(e.line, e.hint) for e in caught.value.errors] == [(3, "did you mean `redx`?")]
