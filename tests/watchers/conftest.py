"""Builders: an attempt's files as trainer and shim write them, a killer, a clock."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from specs.files import MANIFEST, AttemptFiles, append_line, metric_line, write_json
from watchers.watcher import Watcher

DIVERGENCE: Mapping[str, Any] = {
    "name": "blow_up",
    "rule": "divergence",
    "metric": "val/ce",
    "above_best_by": 0.5,
    "for_points": 2,
    "action": "rollback",
    "set": {"trainer.resreg": 0.2},
}
START = 1_700_000_000.0


@dataclass
class Attempt:
    """The directory of an attempt, written as its trainer and its shim would."""

    root: Path
    watch: Sequence[Mapping[str, Any]] = (DIVERGENCE,)
    certify: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True)
        self.files = AttemptFiles(root=self.root)
        run = {"watch": list(self.watch), "certify": dict(self.certify)}
        write_json(self.files.spec, {"spec": {**run, "trainer": dict(self.trainer)}})

    def log(self, step: int, metrics: Mapping[str, float], *, t: float | None = None) -> None:
        self.write(metric_line(START + step if t is None else t, step, metrics))

    def curve(self, metric: str, values: Mapping[int, float]) -> None:
        for step, value in values.items():
            self.log(step, {metric: value})

    def write(self, data: bytes) -> None:
        with self.files.metrics.open("ab") as file:
            file.write(data)

    def checkpoint(
        self, step: int, metrics: Mapping[str, Any] | None = None, *, finite: Any = True
    ) -> None:
        directory = self.files.checkpoint(step)
        directory.mkdir(parents=True)
        evidence = {"finite": finite, "metrics": dict(metrics or {})}
        write_json(directory / "evidence.json", evidence)
        write_json(directory / MANIFEST, {"step": step})

    def leave(self, code: int = 0, order: Mapping[str, Any] | None = None) -> None:
        write_json(self.files.exit, {"exit_code": code, "order": order})

    def lines(self) -> list[dict[str, Any]]:
        if not self.files.watch.exists():
            return []
        return [json.loads(line) for line in self.files.watch.read_text().splitlines()]

    def said(self) -> list[dict[str, Any]]:
        """The lines without what depends on when the watcher looked."""
        timed = ("t", "latency_s")
        return [{k: v for k, v in line.items() if k not in timed} for line in self.lines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["kind"] == kind]


class RecordingKiller:
    """Writes order files as the real one does: the same key twice is one order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, dict[str, Any]]] = []
        self.refusals = 0
        self.on_call: Any = lambda directory: None

    def __call__(self, directory: Path, **order: Any) -> None:
        self.on_call(directory)
        if self.refusals:
            self.refusals -= 1
            raise OSError(28, "No space left on device")
        self.calls.append((directory, order))
        append_line(directory / f"order-{len(self.calls)}.json", {"key": order["key"]})

    @property
    def orders(self) -> list[dict[str, Any]]:
        return [order for _, order in self.calls]


@dataclass
class Clock:
    """Both clocks of the watcher; they move only when told."""

    wall: float = START
    steady: float = 100.0

    def forward(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@dataclass(frozen=True)
class Builders:
    Attempt: type[Attempt] = Attempt
    Killer: type[RecordingKiller] = RecordingKiller
    Clock: type[Clock] = Clock
    divergence: Mapping[str, Any] = field(default_factory=lambda: dict(DIVERGENCE))

    def watcher(self, killer: Any, clock: Clock, *attempts: Attempt, **ports: Any) -> Watcher:
        watcher = Watcher(killer, clock=lambda: clock.wall, monotonic=lambda: clock.steady, **ports)
        watcher.sync([attempt.root for attempt in attempts])
        return watcher

    def drain(self, watcher: Watcher) -> None:
        """Poll until there is nothing more to read."""
        while watcher.poll():
            pass


@pytest.fixture(scope="session")
def build() -> Builders:
    return Builders()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def killer() -> RecordingKiller:
    return RecordingKiller()


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(root=tmp_path / "attempt-1")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with its tables and nothing in them, to be copied."""
    from watchers.mlflow_target import open_sqlite

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_sqlite(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # one file, which can be copied
    return path
