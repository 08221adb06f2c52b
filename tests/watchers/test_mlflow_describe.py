from __future__ import annotations

from typing import Any

import pytest

from specs.endings import Ending, Result
from watchers.mlflow_describe import (
    KEY_TAG,
    LONGEST_PARAM,
    MOST_FACTS,
    end_tags,
    fact_params,
    fact_tags,
    params_of,
    start_tags,
)
from watchers.mlflow_lineage import Described, described
from watchers.mlflow_names import from_mlflow


def attempt(spec: dict[str, Any], **more: Any) -> Described:
    names = {"schema": 1, "campaign": "c", "run": "redx", "attempt": 1}
    return described({**names, "spec": spec, "start": {"kind": "scratch"}, **more})


def test_params_are_the_resolved_spec_by_dotted_path() -> None:
    spec = {
        "trainer": {
            "kind": "ep",
            "rate": 1e-4,
            "jacreg": {"weight": 0.1, "whole": True},
            "x": None,
        },
        "watch": [{"rule": "silence"}],
        "empty": {},
    }
    assert params_of(attempt(spec)) == {
        "trainer.kind": "ep",
        "trainer.rate": "0.0001",
        "trainer.jacreg.weight": "0.1",
        "trainer.jacreg.whole": "true",
        "trainer.x": "null",
        "watch": '[{"rule": "silence"}]',
        "empty": "{}",
    }


def test_a_long_value_is_cut_with_a_sign_and_always_the_same_way() -> None:
    spec = {"argv": ["x" * 10_000]}
    (value,) = params_of(attempt(spec)).values()
    assert len(value) == LONGEST_PARAM
    assert value.endswith("…")
    assert params_of(attempt(spec)) == params_of(attempt(spec))


def test_a_param_name_that_mlflow_refuses_comes_back_by_the_runs_tags() -> None:
    one = attempt({"env": {"A@B": "1", "y" * 400: "2"}})
    names = {from_mlflow(key, start_tags(one)) for key in params_of(one)}
    assert names == {"env.A@B", "env." + "y" * 400}


def test_tags_say_who_where_and_from_what() -> None:
    one = attempt(
        {"trainer": {"kind": "ep"}},
        git_commit="abc",
        git_dirty=True,
        devices=["GPU-1", "GPU-2"],
        host="a",
        spec_hash="0f",
    )
    tags = start_tags(one)
    assert tags[KEY_TAG] == one.key
    assert {name: tags[name] for name in tags if "." not in name} == {
        "campaign": "c",
        "run": "redx",
        "attempt": "1",
        "start": "scratch",
        "spec_hash": "0f",
        "host": "a",
        "devices": "GPU-1, GPU-2",
        "git_commit": "abc + changes",
    }


def test_a_start_from_a_checkpoint_names_it() -> None:
    start = {"kind": "warm", "run": "base", "attempt": 3, "step": 70}
    assert start_tags(attempt({}, start=start))["start"] == "warm from base attempt 3 step 70"


@pytest.mark.parametrize(("number", "name"), [(1, "redx"), (2, "redx (attempt 2)")])
def test_a_run_is_named_after_its_run_and_later_attempts_say_so(number: int, name: str) -> None:
    assert attempt({}, attempt=number).run_name == name


def test_what_is_not_known_has_no_tag() -> None:
    ending = Ending(result=Result.KILLED, rule="blow_up", reason="up \ud800")
    assert end_tags(ending) == {"result": "killed", "rule": "blow_up", "reason": "up \\ud800"}


@pytest.mark.parametrize(
    ("facts", "params"),
    [
        ({}, {}),
        ({"parameters": 12}, {"parameters": "12"}),
        (
            {"parameters": {"titan": 5, "cms": 7, "total": 12}},
            {"parameters": "12", "parameters.titan": "5", "parameters.cms": "7"},
        ),
        (
            {"vocabulary": 96, "data": {"train": 9, "tasks": ["a"]}, "parametersx": 1},
            {
                "facts.vocabulary": "96",
                "facts.data.train": "9",
                "facts.data.tasks": '["a"]',
                "facts.parametersx": "1",
            },
        ),
    ],
)
def test_what_a_trainer_says_of_itself_is_params_and_its_size_has_the_plain_name(
    facts: dict[str, object], params: dict[str, str]
) -> None:
    assert fact_params(facts) == params


def test_a_fact_never_takes_the_name_of_a_setting() -> None:
    spec = {"trainer": {"kind": "hope"}, "resources": {"gpus": 1}}
    facts = {**spec, "parameters": {"total": 1}}
    assert fact_params(facts).keys().isdisjoint(params_of(attempt(spec)))


def test_a_program_that_states_a_book_gets_the_first_facts_only() -> None:
    facts = {f"f{number}": number for number in range(3 * MOST_FACTS)}
    assert list(fact_params(facts)) == [f"facts.f{number}" for number in range(MOST_FACTS)]


def test_the_name_of_a_fact_that_is_too_long_for_mlflow_comes_back_by_the_runs_tags() -> None:
    facts = {"y" * 400: 1}
    assert {from_mlflow(key, fact_tags(facts)) for key in fact_params(facts)} == {
        "facts." + "y" * 400
    }


@pytest.mark.parametrize(("experiment", "name"), [("c", "redx"), ("all_seeds", "c/redx")])
def test_in_the_experiment_of_another_campaign_a_run_says_whose_it_is(
    experiment: str, name: str
) -> None:
    """Seeds are campaigns of their own, and their runs have the same names."""
    assert attempt({}).name_in(experiment) == name
