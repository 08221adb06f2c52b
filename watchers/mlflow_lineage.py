"""What an attempt is, whose points its MLflow run holds, and how it ended. Pure.

The run of attempt n holds the points of its ancestors up to the step at which each was left, plus its
own. An ancestor is the attempt of the same run whose checkpoint was resumed from; a warm start has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specs import endings
from specs.endings import Ending, Result
from specs.files import SCHEMA, digest_json
from watchers.mlflow_port import RunStatus

AttemptId = tuple[str, str, int]
"""Campaign, run, number."""

_RESUME = "resume"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where an attempt began: ``kind`` is scratch, warm or resume."""

    kind: str
    run: str | None
    attempt: int | None
    step: int | None


@dataclass(frozen=True, kw_only=True)
class Described:
    """spec.json. ``key``: its hash, the same wherever a copy of the attempt lies."""

    key: str
    campaign: str
    run: str
    attempt: int
    start: Start
    parent_attempt: int | None
    content: Mapping[str, Any]

    @property
    def id(self) -> AttemptId:
        return self.campaign, self.run, self.attempt

    @property
    def run_name(self) -> str:
        return self.run if self.attempt == 1 else f"{self.run} (attempt {self.attempt})"

    def name_in(self, experiment: str) -> str:
        """Of its run in MLflow: in another campaign's experiment, where several may have one of that name, with its own."""
        return self.run_name if experiment == self.campaign else f"{self.campaign}/{self.run_name}"


def described(content: Mapping[str, Any]) -> Described:
    """The attempt that spec.json states. Raises ValueError saying which field is not as it should be."""
    if content.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {content.get('schema')!r}, this program reads {SCHEMA}")
    start = _field(content, "start", dict)
    return Described(
        key=digest_json(content),
        campaign=_field(content, "campaign", str),
        run=_field(content, "run", str),
        attempt=_field(content, "attempt", int),
        start=Start(
            kind=_field(start, "kind", str),
            run=_optional(start, "run", str),
            attempt=_optional(start, "attempt", int),
            step=_optional(start, "step", int),
        ),
        parent_attempt=_optional(content, "parent_attempt", int),
        content={**content, "spec": _field(content, "spec", dict)},
    )


def _field(content: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = content.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"its field {name!r} is {value!r}, not {kind.__name__}")
    return value


def _optional(content: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    return None if content.get(name) is None else _field(content, name, kind)


# ---------------------------------------------------------------- ancestors


@dataclass(frozen=True, kw_only=True)
class Source:
    """Points of ``attempt`` up to and including ``last_step``; None: all of them."""

    attempt: int
    last_step: int | None = None

    def holds(self, step: int) -> bool:
        return self.last_step is None or step <= self.last_step


def sources(attempt: int, known: Mapping[int, Described]) -> tuple[Source, ...]:
    """Whose points the MLflow run of ``attempt`` holds, the oldest ancestor first, itself last.

    ``known``: attempts of this run by number. The line ends where an ancestor is not known.
    """
    found = [Source(attempt=attempt)]
    number, limit = attempt, None
    while (left := _left(known[number])) is not None and left[0] in known:
        number, step = left
        limit = step if limit is None else min(limit, step)
        found.append(Source(attempt=number, last_step=limit))
    return tuple(reversed(found))


def unknown_ancestor(attempt: int, known: Mapping[int, Described]) -> int | None:
    """The ancestor at which the line breaks off because nothing is known of it."""
    left = _left(known[sources(attempt, known)[0].attempt])
    return None if left is None else left[0]


def _left(attempt: Described) -> tuple[int, int] | None:
    """The attempt that this one goes on from, and the step at which that one was left."""
    start = attempt.start
    number = start.attempt if start.attempt is not None else attempt.parent_attempt
    if start.kind != _RESUME or number is None or start.step is None:
        return None
    if number >= attempt.attempt:
        return None  # numbers only grow: no attempt goes on from a later one
    return number, start.step


# ---------------------------------------------------------------- the end


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended. ``ended_at``: unix seconds; None if it is not known."""

    ending: Ending
    ended_at: float | None = None

    @property
    def status(self) -> RunStatus:
        """In MLflow's word."""
        return _STATUS[self.ending.result]


_STATUS: Mapping[Result, RunStatus] = {
    Result.SUCCEEDED: RunStatus.FINISHED,
    Result.FAILED: RunStatus.FAILED,
    Result.LOST: RunStatus.FAILED,
    Result.KILLED: RunStatus.KILLED,
    Result.CANCELLED: RunStatus.KILLED,
}


@dataclass(frozen=True, kw_only=True)
class Left:
    """What an attempt left behind: the records, None where there is none.

    ``failed``: the last ``failed`` event of the trainer; ``succeeded_by``: a later attempt exists.
    """

    exit: Mapping[str, Any] | None = None
    unstarted: Mapping[str, Any] | None = None
    failed: Mapping[str, Any] | None = None
    succeeded_by: int | None = None


def ended(left: Left) -> Ended | None:
    """How it ended; None while it may still run. Of a copy the later attempt may be the only proof."""
    if left.exit is not None:
        return Ended(
            ending=endings.of_exit(left.exit, left.failed),
            ended_at=_number(left.exit.get("ended_at")),
        )
    if left.unstarted is not None:
        reason = str(left.unstarted.get("reason") or endings.NEVER_CAME_UP)
        return Ended(
            ending=endings.could_not_start(reason), ended_at=_number(left.unstarted.get("at"))
        )
    if left.succeeded_by is not None:
        reason = f"gone without a record; attempt {left.succeeded_by} took its place"
        return Ended(ending=endings.lost(reason))
    return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
