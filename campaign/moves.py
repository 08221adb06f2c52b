"""The two tables of legal moves. Everything that is not a row raises IllegalMove."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from campaign.errors import IllegalMove


class AttemptStatus(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"


class AttemptFact(StrEnum):
    SPAWNED = "spawned"
    STOP_ORDERED = "stop_ordered"
    EXITED = "exited"
    NEVER_STARTED = "never_started"


class RunStatus(StrEnum):
    QUEUED = "queued"
    ACTIVE = "active"
    DONE = "done"


class RunFact(StrEnum):
    PLACED = "placed"
    SETTLED = "settled"  # its attempt ended and nothing more is to be tried
    RETRIED = "retried"
    ROLLED_BACK = "rolled_back"
    CANCELLED = "cancelled"
    REFUSED = "refused"  # it can never start
    RESUMED = "resumed"


_A, _AF, _R, _RF = AttemptStatus, AttemptFact, RunStatus, RunFact

ATTEMPT_MOVES: Mapping[tuple[AttemptStatus, AttemptFact], AttemptStatus] = {
    (_A.STARTING, _AF.SPAWNED): _A.RUNNING,
    (_A.STARTING, _AF.STOP_ORDERED): _A.STOPPING,
    (_A.STARTING, _AF.EXITED): _A.DONE,
    (_A.STARTING, _AF.NEVER_STARTED): _A.DONE,
    (_A.RUNNING, _AF.STOP_ORDERED): _A.STOPPING,
    (_A.RUNNING, _AF.EXITED): _A.DONE,
    (_A.STOPPING, _AF.EXITED): _A.DONE,
    (_A.STOPPING, _AF.NEVER_STARTED): _A.DONE,
}

RUN_MOVES: Mapping[tuple[RunStatus, RunFact], RunStatus] = {
    (_R.QUEUED, _RF.PLACED): _R.ACTIVE,
    (_R.QUEUED, _RF.CANCELLED): _R.DONE,
    (_R.QUEUED, _RF.REFUSED): _R.DONE,
    (_R.ACTIVE, _RF.SETTLED): _R.DONE,
    (_R.ACTIVE, _RF.RETRIED): _R.QUEUED,
    (_R.ACTIVE, _RF.ROLLED_BACK): _R.QUEUED,
    (_R.DONE, _RF.RESUMED): _R.QUEUED,
}


def move_attempt(who: str, status: str, fact: AttemptFact) -> AttemptStatus:
    """The status after ``fact``. Raises IllegalMove naming who, from and fact."""
    try:
        return ATTEMPT_MOVES[AttemptStatus(status), fact]
    except KeyError:
        raise IllegalMove(who, status, fact) from None


def move_run(who: str, status: str, fact: RunFact) -> RunStatus:
    """The status after ``fact``. Raises IllegalMove naming who, from and fact."""
    try:
        return RUN_MOVES[RunStatus(status), fact]
    except KeyError:
        raise IllegalMove(who, status, fact) from None
