"""How an attempt ended, told from the records that it left. Pure, standard library only.

The store (`campaign.observed`) and the MLflow mirror (`watchers.mlflow_lineage`) both ask here, so that
neither can say anything else than the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NEVER_CAME_UP = "its shim never came up"
"""Why an attempt without a shim did not start, where nothing more is known."""


class Result(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    KILLED = "killed"  # by one of our rules
    CANCELLED = "cancelled"  # by the user
    LOST = "lost"  # proved gone without a record


class FailureClass(StrEnum):
    NON_FINITE = "non_finite"
    CUDA_OOM = "cuda_oom"
    HOST_OOM = "host_oom"
    GPU_FAULT = "gpu_fault"
    PREEMPTED = "preempted"
    TIMEOUT = "timeout"
    BAD_EXIT = "bad_exit"
    BAD_CHECKPOINT = "bad_checkpoint"
    COULD_NOT_START = "could_not_start"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """``failure_class``: of a failed one; ``rule``: of a killed one; ``exit_code``: of the trainer."""

    result: Result
    reason: str
    failure_class: FailureClass | None = None
    rule: str | None = None
    exit_code: int | None = None


def of_exit(record: Mapping[str, Any], failed: Mapping[str, Any] | None) -> Ending:
    """The ending that exit.json states; ``failed``: the trainer's last ``failed`` event, if any.

    Whose order ended it counts before the exit code: a trainer that obeys may well leave with 0. One that
    a rule ended may have failed by itself at the same moment, and knows more than the rule. The shim's own orders (a timeout, a SIGTERM from outside) are failures with a class.
    """
    if record.get("outcome") == "could_not_start":
        return could_not_start(
            str(record.get("detail") or "it could not be started"), record.get("failure_class")
        )
    code = record.get("exit_code")
    order: Mapping[str, Any] = record.get("order") or {}
    reason = str(order.get("reason") or "no reason was given")
    match order.get("by"):
        case "watcher":
            rule = None if order.get("rule") is None else str(order["rule"])
            why = with_word(reason, (failed or {}).get("message"))
            return Ending(result=Result.KILLED, rule=rule, reason=why, exit_code=code)
        case "user":
            return Ending(result=Result.CANCELLED, reason=f"{reason} (by user)", exit_code=code)
        case "controller":  # which has it reaped where its shim is dead
            return Ending(result=Result.LOST, reason=reason)
    if record.get("failure_class"):
        return _failed(record["failure_class"], record, record.get("detail") or order.get("reason"))
    if code == 0:
        return Ending(result=Result.SUCCEEDED, reason="finished", exit_code=0)
    said = failed or {}
    by_signal = FailureClass.PREEMPTED if _terminated(record) else FailureClass.BAD_EXIT
    stated = said.get("class", FailureClass.BAD_EXIT) if failed is not None else by_signal
    return _failed(stated, record, record.get("detail") or said.get("message"))


def with_word(reason: str, message: object) -> str:
    """A rule's reason, and what the trainer said of its own failure: which tensor spoilt the metric, for instance."""
    return f"{reason}; the trainer says: {message}" if message else reason


def could_not_start(reason: str, failure_class: object = None) -> Ending:
    """No trainer of it ever ran."""
    return Ending(
        result=Result.FAILED,
        failure_class=_known(failure_class or FailureClass.COULD_NOT_START),
        reason=reason,
    )


def lost(reason: str) -> Ending:
    return Ending(result=Result.LOST, reason=reason)


def _terminated(record: Mapping[str, Any]) -> bool:
    """An exit by SIGTERM that nobody of us ordered."""
    return record.get("signal") == 15 or record.get("exit_code") == 143


def _failed(stated: object, record: Mapping[str, Any], detail: object) -> Ending:
    code, signal = record.get("exit_code"), record.get("signal")
    how = f"exit code {code}" if signal is None else f"signal {signal}"
    return Ending(
        result=Result.FAILED,
        failure_class=_known(stated),
        reason=f"{detail} ({how})" if detail else how,
        exit_code=code,
    )


def _known(stated: object) -> FailureClass:
    """A word of another version, or of a user's program, is a bad exit: its message says more."""
    try:
        return FailureClass(str(stated))
    except ValueError:
        return FailureClass.BAD_EXIT
