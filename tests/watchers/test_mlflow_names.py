"""Every name reaches MLflow under a key that it takes, and comes back."""

from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watchers.mlflow_names import LONGEST_KEY, from_mlflow, long_name_tags, to_mlflow

ANY_CHARACTER = st.characters() | st.characters(categories=["Cs"])  # lone surrogates: JSON has them
NASTY = st.text(st.sampled_from("/.:a4F -_@%é\n\0") | ANY_CHARACTER, max_size=30)
NAMES = NASTY | st.text(ANY_CHARACTER, max_size=600) | st.from_regex(r"(::|:[0-9A-F]{2}:|a)+")


def mlflow_takes(key: str) -> bool:
    """The rule that MLflow documents, written down a second time."""
    norm = posixpath.normpath(key)
    unique = norm == key and norm != "." and not norm.startswith(("..", "/"))
    return bool(re.fullmatch(r"[/\w.\- :]*", key)) and unique and len(key) <= LONGEST_KEY


@settings(deadline=None)
@given(NAMES)
@example("")
@example("@long-" + "0" * 64)
@example("::long-" + "0" * 64)
@example("..a/../b//.")
@example("x" * 5000 + "@" * 9000)
def test_every_name_becomes_one_that_mlflow_takes_and_comes_back(name: str) -> None:
    key = to_mlflow(name)
    assert mlflow_takes(key)
    assert from_mlflow(key, long_name_tags(name)) == name


@settings(deadline=None)
@given(NAMES, NAMES)
@example("a@", "a:40:")
@example("x" * 300, to_mlflow("x" * 300))
def test_two_names_never_share_a_key(first: str, second: str) -> None:
    assert (to_mlflow(first) == to_mlflow(second)) == (first == second)


@pytest.mark.parametrize(
    "name",
    [
        "val/ce",
        "residual/T1",
        "layer:0",
        "12:30",
        "a b",
        "café/été",
        "x" * LONGEST_KEY,
        "a..b/...c",
    ],
)
def test_a_name_that_mlflow_takes_stays_as_it_is(name: str) -> None:
    assert mlflow_takes(name)
    assert to_mlflow(name) == name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("acc@5", "acc:40:5"),
        ("w[0](b)", "w:5B:0:5D28:b:29:"),
        ("/lead", "::/lead"),
        ("a//b", "a/::/b"),
        ("a/", "a/::"),
        (".", ":2E:"),
        ("../up", ":2E2E:/up"),
        ("..@up", ":2E2E40:up"),
        ("...", ":2E2E:."),
        ("", "::"),
        ("line\n", "line:0A:"),
        ("a:40:", "a:3A:40:3A:"),
    ],
)
def test_refused_characters_are_written_in_hex(name: str, key: str) -> None:
    assert to_mlflow(name) == key


def test_a_shortened_name_without_its_tag_is_an_error_not_a_guess() -> None:
    with pytest.raises(KeyError, match=r"campaign\.name"):
        from_mlflow(to_mlflow("x" * 300), {})


@pytest.mark.heavy
@settings(deadline=None)
@given(NAMES)
def test_the_installed_mlflow_agrees(name: str) -> None:
    from mlflow.utils.validation import _validate_metric, _validate_param_name, _validate_tag_name

    key = to_mlflow(name)
    _validate_metric(key, 1.0, 0, 0)
    _validate_param_name(key)
    for tag in long_name_tags(name):
        _validate_tag_name(tag)
