"""What a rollback's ``set`` does to a run, and that it is tried when the file is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from specs.changes import apply_changes
from specs.errors import SpecError, SpecErrors
from specs.load import load_text
from specs.run import RunSpec

One = Callable[..., SpecError]

TEXT = """
campaign: a
defaults:
  trainer: {kind: ep, width: 64, heads: 4, resreg: 0.0}
runs:
  r:
    watch:
      - name: blow_up
        rule: divergence
        metric: val/ce
        above_best_by: 0.5
        action: rollback
        set: {SET}
"""
GOOD = "{trainer.resreg: 0.2, trainer.jacreg.weight: 0.1}"


def loaded(changes: str = GOOD) -> RunSpec:
    return load_text(TEXT.replace("{SET}", changes)).spec.runs["r"]


def test_changes_reach_the_named_fields_and_no_others() -> None:
    run = loaded()
    after = apply_changes(run, run.watch[0].set).model_dump()
    before = run.model_dump()
    assert after["trainer"]["resreg"] == 0.2
    assert after["trainer"]["jacreg"]["weight"] == 0.1
    after["trainer"]["resreg"] = before["trainer"]["resreg"]
    after["trainer"]["jacreg"]["weight"] = before["trainer"]["jacreg"]["weight"]
    assert after == before


def test_no_changes_are_the_same_run() -> None:
    run = loaded()
    assert apply_changes(run, {}) == run


def test_changes_done_twice_are_done_once() -> None:
    run = loaded()
    once = apply_changes(run, run.watch[0].set)
    assert apply_changes(once, run.watch[0].set) == once


def test_the_grammar_is_that_of_the_command_line() -> None:
    changes: Mapping[str, Any] = {
        "watch.blow_up.above_best_by": 0.7,
        "limits.grace": "5s",
        "priority": 3,
    }
    changed = apply_changes(loaded(), changes)
    sets = [f"r.{path}={value}" for path, value in changes.items()]
    assert changed == load_text(TEXT.replace("{SET}", GOOD), sets=sets).spec.runs["r"]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"trainer.resrg": 1}, ["trainer.resrg"]),
        ({"trainer.resreg": "x"}, ["trainer.resreg"]),
        ({"trainer.resreg": -1, "trainer.heads": 3}, ["trainer.heads", "trainer.resreg"]),
        ({"trainer.heads": 3}, ["trainer.heads"]),
        ({"trainer.resreg.x": 3}, ["trainer.resreg.x"]),
        ({"watch.none.tries": 3}, ["watch.none.tries"]),
        ({"a..b": 1, "priority": "x"}, ["a..b", "priority"]),
        ({"priority": object()}, ["priority"]),
        ({"trainer.adjoint": {1: 2}}, ["trainer.adjoint"]),
        ({"trainer.resreg": 10**400}, ["trainer.resreg"]),
        ({"trainer.resreg": float("nan")}, ["trainer.resreg"]),
    ],
)
def test_wrong_changes_are_named_by_their_paths(changes: dict[str, Any], where: list[str]) -> None:
    with pytest.raises(SpecErrors) as caught:
        apply_changes(loaded(), changes)
    assert [error.where for error in caught.value.errors] == where
    assert [error.file for error in caught.value.errors] == [f"set {path}" for path in where]


@pytest.mark.parametrize(
    ("changes", "column", "got", "hint"),
    [
        ("{trainer.resrg: 0.2}", 15, "the unknown field `resrg`", "did you mean `resreg`?"),
        ("{trainer.resreg: many}", 31, "'many'", ""),
        ("{trainer.resreg: 11}", 31, "11", ""),
        ("{trainer..resreg: 1}", 15, "the path 'trainer..resreg'", ""),
        ("{trainer.resreg.x: 1}", 15, "`x` below `resreg`", ""),
        ("{watch.blowup.tries: 2}", 15, "`blowup` in `watch`", "did you mean `blow_up`?"),
        ("{trainer.estimator: rpb}", 34, "'rpb'", "did you mean `rbp`?"),
    ],
)
def test_the_changes_of_a_rollback_are_tried_when_the_file_is_read(
    one: One, changes: str, column: int, got: str, hint: str
) -> None:
    error = one(TEXT.replace("{SET}", changes))
    assert (error.line, error.column) == (13, column)
    assert (error.got, error.hint) == (got, hint)
    assert error.where.startswith("runs.r.watch[0].set.")


@pytest.mark.parametrize(
    ("path", "value", "got"),
    [
        ("trainer.kind", "command", "trainer.kind"),
        ("trainer.width", 128, "trainer.width"),
        ("trainer.width", 64, "trainer.width"),  # what is there: it may not be named at all
        ("trainer.heads", 2, "trainer.heads"),
        ("trainer.ffn_factor", 2, "trainer.ffn_factor"),
        ("trainer.context", 8, "trainer.context"),
        ("trainer.data", "{path: x}", "trainer.data"),
        ("trainer.data.tokenizer", "byte", "trainer.data"),
        ("trainer", "{kind: ep}", "the whole trainer"),
    ],
)
def test_a_rollback_cannot_change_what_its_checkpoints_hold(
    one: One, path: str, value: object, got: str
) -> None:
    error = one(TEXT.replace("{SET}", f"{{{path}: {value}}}"))
    assert (error.line, error.column) == (13, 15)
    assert error.got == f"a change of {got}"
    assert "kind, width, heads, ffn_factor, context, data cannot change" in error.allowed
    assert error.hint.startswith("may be changed: all but trainer, and of it ")
    assert "batch, damping" in error.hint
    assert not {"width", "data"} & set(error.hint.replace(",", "").split())


def test_a_program_of_the_users_may_be_given_other_arguments_but_stays_a_program(one: One) -> None:
    text = TEXT.replace("trainer: {kind: ep, width: 64, heads: 4, resreg: 0.0}", PROGRAM)
    changes = "{trainer.argv: [echo, again]}"
    run = load_text(text.replace("{SET}", changes)).spec.runs["r"]
    assert apply_changes(run, run.watch[0].set).trainer.argv == ("echo", "again")
    assert one(text.replace("{SET}", "{trainer.kind: ep}")).got == "a change of trainer.kind"


PROGRAM = "trainer: {kind: command, argv: [echo]}"


def test_set_and_tries_belong_to_a_rollback(one: One) -> None:
    text = TEXT.replace("{SET}", "{priority: 1}")
    assert one(text.replace("rollback", "kill")).allowed == "`set` belongs to action: rollback"
    text = text.replace("set: {priority: 1}", "tries: 3")
    assert one(text.replace("rollback", "kill")).allowed == "`tries` belongs to action: rollback"
