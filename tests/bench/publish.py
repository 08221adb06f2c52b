"""How fast the publisher mirrors a home into MLflow: from nothing, and again when its cursors were lost."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

from specs.files import metric_line
from tests.bench.report import Result, Row
from tests.bench.stage import Stage
from tests.watchers.mlflow_homes import FakeAttempt, FakeHome
from watchers.mlflow_attempts import LEDGER, directories
from watchers.mlflow_cursor import Ledger
from watchers.mlflow_mirror import Mirror
from watchers.mlflow_target import MlflowTarget

LINES = 1000
METRICS = 12
REPEATS = 3

FRESH = "a store that has none of them"
AGAIN = "a store that has all of them (publisher.db was lost)"
SORTED_OUT = "the same, left to MLflow to sort out"


def measure(stage: Stage) -> Result:
    samples: dict[str, list[float]] = {FRESH: [], AGAIN: [], SORTED_OUT: []}
    for turn in range(REPEATS * stage.more):
        home = stage.folder(f"home-{turn}")
        _fill(FakeHome(home).attempt())
        samples[FRESH].append(_publish(home))
        samples[AGAIN].append(_publish(home))
        samples[SORTED_OUT].append(_publish(home, ask=False))
    points = LINES * METRICS
    return Result(
        name="publish",
        title=f"{points:,} points of one attempt into MLflow's SQLite store, MLflow loaded",
        rows=tuple(
            Row(what=what, samples=tuple(seconds), against=None if what == FRESH else FRESH)
            for what, seconds in samples.items()
        ),
        notes=tuple(
            f"{what}: {points / sorted(seconds)[len(seconds) // 2]:,.0f} points a second"
            for what, seconds in samples.items()
        ),
    )


def _fill(attempt: FakeAttempt) -> None:
    lines = (
        metric_line(
            attempt.started_at + step / 7,
            step,
            {f"group/{n}": math.sin(step / 100 + n) for n in range(METRICS)},
        )
        for step in range(LINES)
    )
    attempt.write(b"".join(lines))
    attempt.leave()


def _publish(home: Path, *, ask: bool = True) -> float:
    """Seconds from an empty ledger to everything published. ``ask``: for the points that are there."""
    (home / LEDGER).unlink(missing_ok=True)
    target = MlflowTarget(f"sqlite:///{home}/mlflow.db")
    if not ask:
        target._known = None
    with contextlib.closing(Ledger.open(home / LEDGER)) as ledger:
        mirror = Mirror(target, ledger, say=lambda text: None)
        began = time.perf_counter()
        while mirror.advance(directories(home)):
            pass
        return time.perf_counter() - began
