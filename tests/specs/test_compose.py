"""YAML that a campaign file has no use for. (Bad inputs 7-14, 20.)"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from specs.compose import DEEPEST, MOST_NODES, compose
from specs.errors import SpecError, SpecErrors
from specs.tree import plain

One = Callable[..., SpecError]
RUNS = "runs: {r: {trainer: {kind: ep}}}\n"


@pytest.mark.parametrize(
    ("head", "line", "column", "got", "allowed"),
    [
        # 7
        ("campaign: a\ncampaign: b\n", 2, 1, "the key 'campaign' again", "in line 1 already"),
        ('campaign: a\n"campaign": b\n', 2, 1, "the key 'campaign' again", "in line 1 already"),
        # 8
        ("campaign: !!python/object/apply:os.system [x]\n", 1, 11, "the tag !!python/", "plain"),
        ("campaign: !mine a\n", 1, 11, "the tag !mine", "plain"),
        ("campaign: a\ndescription: !!set {a}\n", 2, 14, "the tag !!set", "plain"),
        ("campaign: !!binary aGVsbG8=\n", 1, 11, "the tag !!binary", "plain"),
        ("campaign: !!int a\n", 1, 11, "'a'", "must be what its tag !!int says"),
        # 13
        ("campaign: a\n1: b\n", 2, 1, "the key 1", "must be text"),
        ("campaign: a\n~: b\n", 2, 1, "the key nothing (null)", "must be text"),
        ("campaign: a\ntrue: b\n", 2, 1, "the key true", "must be text"),
        ("campaign: a\n? [x, y]\n: b\n", 2, 3, "the key a list or map", "must be text"),
        ("campaign: a\n? {x: y}\n", 2, 3, "the key a list or map", "must be text"),
        ("campaign: a\n<<: {description: x}\n", 2, 1, "the merge key <<", "no merge keys"),
        # 14
        ('campaign: "a\\0"\n', 1, 11, "a NUL character in a text", "printable"),
        ('campaign: "a\\e[2J"\n', 1, 11, "the control character U+001B in a text", "printable"),
        ('campaign: a\n"b\\a": 1\n', 2, 1, "the control character U+0007 in a text", "printable"),
        ('campaign: a\n"b\\a": 1\n"c\\a": 1\n', 3, 1, "the control character U+0007", "printable"),
        ('campaign: "\\ud800"\n', 1, 11, "U+D800, which is no character in a text", "printable"),
        # 20
        ("campaign: a\ndescription: .nan\n", 2, 14, "'.nan'", "must be a finite number"),
        ("campaign: a\ndescription: -.INF\n", 2, 14, "'-.INF'", "must be a finite number"),
        ("campaign: a\ndescription: 1e400\n", 2, 14, "'1e400'", "too large"),
        ("campaign: a\ndescription: 18446744073709551616\n", 2, 14, "'1844", "64 bits"),
    ],
)
def test_what_no_field_takes_is_refused_where_it_stands(
    refused: Callable[..., tuple[SpecError, ...]],
    head: str,
    line: int,
    column: int,
    got: str,
    allowed: str,
) -> None:
    errors = refused(head + RUNS)
    here = [error for error in errors if (error.line, error.column) == (line, column)]
    assert len(here) == 1
    assert here[0].got.startswith(got)
    assert allowed in here[0].allowed


@pytest.mark.parametrize(
    ("text", "line", "column", "got"),
    [
        # 9
        ("a: &x [1, *x]\n", 1, 11, "the alias *x inside the anchor &x"),
        ("a: &x {b: {c: *x}}\n", 1, 15, "the alias *x inside the anchor &x"),
        ("a: &x 1\nb: &x [*x]\n", 2, 8, "the alias *x inside the anchor &x"),
        ("a: *none\n", 1, 4, "the alias *none"),
        # 11
        ("a:\n  " + "[" * 60 + "]" * 60, 2, 52, "a value 51 levels deep"),
        ("{a: " * 60, 1, 201, "a value 51 levels deep"),
        # 12
        ("a: 1\n---\nb: 2\n", 2, 1, "a second document"),
        ("a: 1\n...\nb\n", 3, 1, "a second document"),
        ("%YAML 1.1\n---\na: no\n", 2, 1, "the directive %YAML 1.1"),
        # syntax
        ("a: [1, 2\n", 2, 1, "what is no YAML"),
        ("a: 'x\n", 2, 1, "what is no YAML"),
        ("a: b: c\n", 1, 5, "what is no YAML"),
        ("a: @b\n", 1, 4, "what is no YAML"),
        ('a: "\\UFFFFFFFF"\n', 1, 1, "what is no YAML"),
        ('a: "\\q"\n', 1, 6, "what is no YAML"),
        ("a: 1\n b: 2\n", 2, 3, "what is no YAML"),
    ],
)
def test_a_text_without_a_tree_is_refused_where_it_breaks(
    one: One, text: str, line: int, column: int, got: str
) -> None:
    error = one(text)
    assert (error.line, error.column, error.got) == (line, column, got)


def test_an_alias_bomb_is_refused_before_it_expands(one: One) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    error = one("\n".join(lines))
    assert error.line == 5
    assert str(MOST_NODES) in error.got


def test_aliases_cannot_nest_deeper_than_what_is_written(one: One) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 60)]
    error = one("\n".join(lines))
    assert "levels deep" in error.got
    assert error.line == DEEPEST


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_a_million_levels_are_refused_like_fifty_one(one: One, opening: str) -> None:
    assert "levels deep" in one(opening * (1_000_000 // len(opening))).got


def test_fifty_levels_are_welcome() -> None:
    assert compose("[" * DEEPEST + "]" * DEEPEST, "c.yaml").errors == ()
    with pytest.raises(SpecErrors):
        compose("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "c.yaml")


def test_an_alias_stands_for_what_its_anchor_holds() -> None:
    root = compose("a: &x {b: [1, 'two']}\nc: *x\nd: &y 3\ne: *y\n", "c.yaml").root
    assert root is not None
    assert plain(root) == {"a": {"b": [1, "two"]}, "c": {"b": [1, "two"]}, "d": 3, "e": 3}


def test_an_error_in_an_anchored_value_is_said_once_where_it_is_written(one: One) -> None:
    error = one(
        "campaign: a\nruns:\n  a: &a\n    trainer: {kind: ep, heads: 0}\n  b: *a\n  c: *a\n"
    )
    assert (error.line, error.column, error.where) == (4, 32, "runs.a.trainer.heads")
    assert error.hint == "it reaches every run"


def test_the_core_tags_mean_what_they_say() -> None:
    root = compose("a: !!str 3\nb: !!int 3\nc: !!map {}\nd: !!seq []\ne: !!float 1e3\n", "c").root
    assert root is not None
    assert plain(root) == {"a": "3", "b": 3, "c": {}, "d": [], "e": 1000.0}
