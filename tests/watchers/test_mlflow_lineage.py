"""Whose points the MLflow run of an attempt holds, and how an attempt ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchers.mlflow_lineage import (
    Described,
    Left,
    described,
    ending,
    sources,
    unknown_ancestor,
)
from watchers.mlflow_port import RunStatus

SCRATCH = {"kind": "scratch"}
WARM = {"kind": "warm", "run": "redx", "attempt": 1, "step": 100}


def resume(attempt: int | None, step: int | None) -> dict[str, Any]:
    return {"kind": "resume", "attempt": attempt, "step": step}


def spec(number: int, start: dict[str, Any], parent: int | None = None) -> dict[str, Any]:
    names = {"schema": 1, "campaign": "c", "run": "r", "attempt": number, "spec": {}}
    return {**names, "start": start, "parent_attempt": parent}


def family(*starts: dict[str, Any]) -> dict[int, Described]:
    """Attempts 1, 2, ... that began so."""
    return {n: described(spec(n, start, n - 1 or None)) for n, start in enumerate(starts, 1)}


LINES: list[tuple[list[dict[str, Any]], list[tuple[int, int | None]]]] = [
    ([SCRATCH], [(1, None)]),
    ([WARM], [(1, None)]),
    ([SCRATCH, resume(1, 200)], [(1, 200), (2, None)]),
    ([SCRATCH, resume(None, 200)], [(1, 200), (2, None)]),  # parent_attempt names it
    ([SCRATCH, resume(1, 200), resume(2, 300)], [(1, 200), (2, 300), (3, None)]),
    ([SCRATCH, resume(1, 200), resume(2, 150)], [(1, 150), (2, 150), (3, None)]),
    ([SCRATCH, resume(1, 200), resume(1, 100)], [(1, 100), (3, None)]),
    ([WARM, WARM], [(2, None)]),  # begun again from another run's checkpoint
    ([SCRATCH, resume(1, 50), WARM, resume(3, 70)], [(3, 70), (4, None)]),
    ([SCRATCH, resume(1, None)], [(2, None)]),
    ([resume(1, 5)], [(1, None)]),  # no attempt goes on from itself
]


@pytest.mark.parametrize(("starts", "expected"), LINES)
def test_a_run_holds_each_ancestor_up_to_where_it_was_left(
    starts: list[dict[str, Any]], expected: list[tuple[int, int | None]]
) -> None:
    found = sources(len(starts), family(*starts))
    assert [(source.attempt, source.last_step) for source in found] == expected


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1000)), min_size=1, max_size=40))
def test_a_line_is_finite_ascending_and_never_holds_more_than_its_descendant_knew(
    links: list[tuple[int, int]],
) -> None:
    starts = [resume(back, step) if back else SCRATCH for back, step in links]
    found = sources(len(starts), family(*starts))
    numbers = [source.attempt for source in found]
    limits = [source.last_step for source in found[:-1]]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == len(starts)
    assert limits == sorted(limit for limit in limits if limit is not None)


def test_a_line_breaks_off_at_an_ancestor_that_is_not_here() -> None:
    known = family(SCRATCH, resume(1, 10), resume(2, 20))
    del known[1]
    assert [s.attempt for s in sources(3, known)] == [2, 3]
    assert unknown_ancestor(3, known) == 1
    assert unknown_ancestor(1, family(SCRATCH)) is None


def exit_record(**record: Any) -> Left:
    fields = {"outcome": "exited", "exit_code": None, "signal": None, "order": None}
    return Left(exit={**fields, "ended_at": 9.5, **record})


RULE = {"by": "watcher", "rule": "blow_up", "reason": "too high"}
USER = {"by": "user", "reason": "enough"}
DEAD_SHIM = {"by": "controller", "reason": "reap"}
ENDINGS: list[tuple[Left, str, str, str | None]] = [
    (exit_record(exit_code=0), "FINISHED", "succeeded", None),
    (exit_record(exit_code=1), "FAILED", "failed", "bad_exit"),
    (exit_record(signal=9), "FAILED", "failed", "bad_exit"),
    (exit_record(exit_code=143), "FAILED", "failed", "preempted"),
    (exit_record(signal=15), "FAILED", "failed", "preempted"),
    (exit_record(signal=9, failure_class="timeout"), "FAILED", "failed", "timeout"),
    (exit_record(signal=15, order=RULE), "KILLED", "killed", None),
    (exit_record(exit_code=0, order=RULE), "KILLED", "killed", None),
    (exit_record(exit_code=143, order=USER), "KILLED", "cancelled", None),
    (exit_record(signal=9, order=DEAD_SHIM), "FAILED", "lost", None),
    (
        exit_record(outcome="could_not_start", failure_class="could_not_start", order=USER),
        "FAILED", "failed", "could_not_start",
    ),
    (Left(unstarted={"at": 9.5}), "FAILED", "failed", "could_not_start"),
    (Left(lost={"at": 9.5, "reason": "rebooted"}), "FAILED", "lost", None),
    (Left(succeeded_by=2), "FAILED", "lost", None),
    (exit_record(exit_code=0, ended_at=None), "FINISHED", "succeeded", None),
]  # fmt: skip


@pytest.mark.parametrize(("left", "status", "result", "failure_class"), ENDINGS)
def test_an_ending_is_told_from_the_records(
    left: Left, status: str, result: str, failure_class: str | None
) -> None:
    found = ending(left)
    assert found is not None
    assert (found.status, found.result, found.failure_class) == (status, result, failure_class)


def test_an_attempt_without_a_record_still_runs() -> None:
    assert ending(Left()) is None


def test_exit_json_counts_before_everything_else() -> None:
    left = Left(exit={"exit_code": 0}, lost={"at": 1.0}, unstarted={"at": 1.0}, succeeded_by=2)
    found = ending(left)
    assert found is not None
    assert found.status is RunStatus.FINISHED


def test_the_trainers_own_word_names_the_failure() -> None:
    left = Left(
        exit={"exit_code": 3, "ended_at": 1.0},
        failed={"class": "non_finite", "message": "loss is NaN at step 7"},
    )
    found = ending(left)
    assert found is not None
    assert (found.failure_class, found.reason) == (
        "non_finite",
        "loss is NaN at step 7 (exit code 3)",
    )


def test_a_rule_is_named_with_its_reason() -> None:
    found = ending(exit_record(signal=15, order=RULE))
    assert found is not None
    assert (found.rule, found.reason, found.ended_at) == ("blow_up", "too high", 9.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema is 2"),
        ({"campaign": None}, "'campaign' is None, not str"),
        ({"attempt": True}, "'attempt' is True, not int"),
        ({"start": "scratch"}, "'start' is 'scratch', not dict"),
        ({"start": {}}, "'kind' is None"),
        ({"parent_attempt": "1"}, "'parent_attempt' is '1'"),
        ({"spec": []}, "'spec' is \\[\\]"),
    ],
)
def test_a_spec_that_is_not_as_it_should_be_names_the_field(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        described({**spec(1, SCRATCH), **change})


def test_a_copy_of_an_attempt_has_its_key_and_another_attempt_has_not() -> None:
    first, again = described(spec(1, SCRATCH)), described(spec(1, SCRATCH))
    assert first.key == again.key
    assert first.key != described(spec(2, SCRATCH)).key
