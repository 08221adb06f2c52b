"""A tracking store in memory, for tests and for trying things out: it keeps what MLflow would keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from watchers.mlflow_port import (
    Lifecycle,
    MetricRow,
    NewRun,
    NotActive,
    Point,
    Refused,
    RunStatus,
    Unavailable,
    kept,
)


@dataclass(kw_only=True)
class MemoryRun:
    """``rows``: as a set, so that a point that comes twice is there once."""

    new: NewRun
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)
    rows: set[MetricRow] = field(default_factory=set)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    status: RunStatus = RunStatus.RUNNING
    end_time: int | None = None
    deleted: bool = False


class MemoryTarget:
    """``refuses``: why a point is not taken, or None; ``down``: every call fails; ``calls``: batch sizes."""

    uri = "memory:"

    def __init__(self, refuses: Callable[[Point], str | None] = lambda point: None) -> None:
        self.refuses = refuses
        self.down: Exception | None = None
        self.experiments: dict[str, str] = {}
        self.deleted_experiments: set[str] = set()
        self.runs: dict[str, MemoryRun] = {}
        self.calls: list[int] = []

    def confirm(self) -> None:
        return None

    def experiment(self, name: str) -> tuple[str, bool]:
        self._check_up()
        experiment_id = self.experiments.setdefault(name, str(len(self.experiments) + 1))
        if experiment_id not in self.deleted_experiments:
            return experiment_id, False
        self.deleted_experiments.remove(experiment_id)
        for run in self.runs.values():
            if run.new.experiment_id == experiment_id:
                run.deleted = False
        return experiment_id, True

    def delete_experiment(self, name: str) -> None:
        """As a user does it in the browser: its runs go with it."""
        self.deleted_experiments.add(self.experiments[name])
        for run in self.runs.values():
            if run.new.experiment_id == self.experiments[name]:
                run.deleted = True

    def find_run(self, experiment_id: str, key: str) -> str | None:
        self._check_up()
        for run_id, run in self.runs.items():
            if run.new.experiment_id == experiment_id and run.new.key == key:
                return run_id
        return None

    def create_run(self, run: NewRun) -> str:
        self._check_up()
        if run.experiment_id in self.deleted_experiments:
            raise NotActive(f"experiment {run.experiment_id} was deleted")
        run_id = f"run-{len(self.runs) + 1}"
        self.runs[run_id] = MemoryRun(new=run, tags=dict(run.tags))
        return run_id

    def lifecycle(self, run_id: str) -> Lifecycle:
        self._check_up()
        if run_id not in self.runs:
            return Lifecycle.GONE
        return Lifecycle.DELETED if self.runs[run_id].deleted else Lifecycle.ACTIVE

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        run = self._active(run_id)
        self.calls.append(len(points))
        for point in points:
            if (why := self.refuses(point)) is not None:
                raise Refused(why)
        run.rows.update(kept(point) for point in points)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        run = self._active(run_id)
        changed = [key for key in params if run.params.get(key, params[key]) != params[key]]
        run.params.update({key: value for key, value in params.items() if key not in changed})
        if changed:
            raise Refused(f"params may not change: {', '.join(changed)}")

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._active(run_id).tags.update(tags)

    def log_artifact(self, run_id: str, path: Path) -> None:
        self._active(run_id).artifacts[path.name] = path.read_bytes()

    def end(self, run_id: str, status: RunStatus, end_time: int | None) -> None:
        run = self._active(run_id)
        run.status, run.end_time = status, end_time

    def _active(self, run_id: str) -> MemoryRun:
        self._check_up()
        if run_id not in self.runs or self.runs[run_id].deleted:
            raise NotActive(f"run {run_id} is not active")
        return self.runs[run_id]

    def _check_up(self) -> None:
        if self.down is not None:
            raise self.down


OUTAGE = Unavailable("the store is down")
