"""How an attempt ended is told from its exit record and the trainer's own word."""

from __future__ import annotations

from typing import Any

import pytest

from specs import endings
from specs.endings import FailureClass, Result

FAILED = Result.FAILED
RULE = {"by": "watcher", "rule": "blow_up", "reason": "too high"}
USER = {"by": "user", "reason": "enough"}
SHIM = {"by": "shim", "reason": "it ran for 5 s, its limit"}


def told(failed: dict[str, Any] | None = None, **record: Any) -> endings.Ending:
    fields = {"outcome": "exited", "exit_code": None, "signal": None, "order": None}
    return endings.of_exit({**fields, **record}, failed)


@pytest.mark.parametrize(
    ("code", "order", "result"),
    [
        (0, RULE, Result.KILLED),
        (0, USER, Result.CANCELLED),
        (0, {"by": "controller", "reason": "its shim was killed"}, Result.LOST),
        (0, None, Result.SUCCEEDED),
        (3, USER, Result.CANCELLED),
        (3, None, Result.FAILED),
    ],
)
def test_whose_order_ended_it_counts_before_the_exit_code(
    code: int, order: dict[str, str] | None, result: Result
) -> None:
    assert told(exit_code=code, order=order).result is result


def test_an_order_that_the_shim_gave_itself_is_a_failure_with_its_class_and_its_reason() -> None:
    found = told(signal=9, failure_class="timeout", order=SHIM)
    assert (found.result, found.failure_class) == (FAILED, FailureClass.TIMEOUT)
    assert found.reason == "it ran for 5 s, its limit (signal 9)"


def test_the_trainers_own_word_names_the_failure() -> None:
    found = told({"class": "non_finite", "message": "loss is NaN at step 7"}, exit_code=3)
    assert found.failure_class is FailureClass.NON_FINITE
    assert found.reason == "loss is NaN at step 7 (exit code 3)"


def test_a_kill_by_a_rule_ends_with_the_trainers_own_word_where_it_has_one() -> None:
    said = {"class": "non_finite", "message": "train/loss is nan: the gradient of blocks.2.W1"}
    found = told(said, signal=9, order={**RULE, "reason": "train/loss was NaN at step 7"})
    assert (found.result, found.rule, found.failure_class) == (Result.KILLED, "blow_up", None)
    assert found.reason == (
        "train/loss was NaN at step 7; the trainer says: train/loss is nan: the gradient of blocks.2.W1"
    )


@pytest.mark.parametrize("said", [None, {"class": "bad_exit", "message": ""}])
def test_where_the_trainer_said_nothing_the_rule_has_the_last_word(said: Any) -> None:
    assert told(said, exit_code=0, order=RULE).reason == RULE["reason"]


@pytest.mark.parametrize("how", [{"signal": 15}, {"exit_code": 143}])
def test_a_sigterm_that_nobody_ordered_is_a_preemption(how: dict[str, int]) -> None:
    assert told(**how).failure_class is FailureClass.PREEMPTED


def test_a_class_that_is_not_known_is_a_bad_exit_and_keeps_its_message() -> None:
    found = told({"class": "solar_flare", "message": "it was bright"}, exit_code=1)
    assert found.failure_class is FailureClass.BAD_EXIT
    assert "it was bright" in found.reason


def test_what_could_not_start_has_no_exit_code_in_its_reason() -> None:
    found = told(outcome="could_not_start", detail="GPU-a is used by process 7", order=USER)
    assert found.failure_class is FailureClass.COULD_NOT_START
    assert (found.reason, found.exit_code) == ("GPU-a is used by process 7", None)
