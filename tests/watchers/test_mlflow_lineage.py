"""Whose points the MLflow run of an attempt holds, and how an attempt ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.endings import Ending, Result
from watchers.mlflow_lineage import (
    Described,
    Ended,
    Left,
    described,
    ended,
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


STATUSES = {
    Result.SUCCEEDED: "FINISHED",
    Result.FAILED: "FAILED",
    Result.LOST: "FAILED",
    Result.KILLED: "KILLED",
    Result.CANCELLED: "KILLED",
}


@pytest.mark.parametrize("result", Result)
def test_every_result_has_a_word_of_mlflow(result: Result) -> None:
    assert Ended(ending=Ending(result=result, reason="r")).status == STATUSES[result]


def test_an_attempt_without_a_record_still_runs() -> None:
    assert ended(Left()) is None


def test_exit_json_counts_before_everything_else() -> None:
    found = ended(Left(exit={"exit_code": 0}, unstarted={"at": 1.0}, succeeded_by=2))
    assert found is not None
    assert found.status is RunStatus.FINISHED


def test_an_attempt_that_a_later_one_replaced_without_a_record_is_lost() -> None:
    found = ended(Left(succeeded_by=2))
    assert found is not None
    assert (found.ending.result, found.ended_at) == (Result.LOST, None)


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
