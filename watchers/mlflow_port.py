"""What the mirror asks of a tracking store, and how a store says no. Nothing here imports mlflow."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from specs.files import MetricLine
from watchers.mlflow_names import to_mlflow

LARGEST_BATCH = 1000
"""Metrics in one request: the limit of MLflow's REST API."""

_LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One value of one metric. ``key``: as MLflow takes it; ``timestamp``: unix milliseconds."""

    key: str
    step: int
    timestamp: int
    value: float


def points_of(line: MetricLine) -> Iterator[Point]:
    """The points of a metric line. The time is the line's own, so that a replay changes nothing."""
    whole = abs(line.t) > _LARGEST_INTEGER  # its thousandfold might be no float any more
    timestamp = round(line.t) * 1000 if whole else round(line.t * 1000)
    for name, value in line.metrics.items():
        yield Point(key=to_mlflow(name), step=line.step, timestamp=timestamp, value=value)


def unfit(point: Point) -> str | None:
    """Why no MLflow store can hold the point; None if it can."""
    if not 0 <= point.timestamp <= _LARGEST_INTEGER:
        return f"its time, {point.timestamp} ms, lies outside 0 to 2**63 - 1"
    if not -_LARGEST_INTEGER <= point.step <= _LARGEST_INTEGER:
        return f"its step, {point.step}, is no 64-bit integer"
    return None


MetricRow = tuple[str, int, int, float, bool]
"""Key, step, timestamp, value, is it NaN: MLflow's primary key within a run."""


def kept(point: Point) -> MetricRow:
    """A point as MLflow's database keeps it: infinities become the largest double, NaN a flag."""
    if math.isnan(point.value):
        return point.key, point.step, point.timestamp, 0.0, True
    value = max(-sys.float_info.max, min(sys.float_info.max, point.value))
    return point.key, point.step, point.timestamp, value, False


class Lifecycle(StrEnum):
    ACTIVE = "active"
    DELETED = "deleted"  # can be restored
    GONE = "gone"


class RunStatus(StrEnum):
    """The words of MLflow."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class TrackingProblem(Exception):
    """The store did not do what was asked; the message is its own."""


class Refused(TrackingProblem):
    """It will never do this: the content is wrong."""


class Unavailable(TrackingProblem):
    """It does nothing at present: try again later."""


class Unsure(TrackingProblem):
    """It failed in a way that does not tell whether trying again can help."""


class Replaced(Exception):
    """The store that was opened is not there any more: a new publisher has to open it anew."""


class NotActive(TrackingProblem):
    """The run, or its experiment, was deleted."""


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """``key``: identifies the attempt in any store; ``start_time``: unix milliseconds."""

    experiment_id: str
    name: str
    start_time: int
    key: str
    tags: Mapping[str, str]


class Target(Protocol):
    """A tracking store. Every method may raise a TrackingProblem; doing a thing twice does no harm."""

    @property
    def uri(self) -> str:
        """Where it is, without secrets: cursors are kept for each."""
        ...

    def confirm(self) -> None:
        """Raises Replaced if the store was removed or another one stands in its place."""
        ...

    def experiment(self, name: str) -> tuple[str, bool]:
        """The id of the experiment, made or restored if need be, and whether it was restored."""
        ...

    def find_run(self, experiment_id: str, key: str) -> str | None:
        """The id of the run that was made with this key, deleted ones too."""
        ...

    def create_run(self, run: NewRun) -> str: ...

    def lifecycle(self, run_id: str) -> Lifecycle: ...

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """At most LARGEST_BATCH; all or none, as far as the caller may rely on it."""
        ...

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None: ...

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None: ...

    def log_artifact(self, run_id: str, path: Path) -> None: ...

    def end(self, run_id: str, status: RunStatus, end_time: int | None) -> None:
        """``end_time``: unix milliseconds; None if it is not known."""
        ...
