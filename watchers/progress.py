"""progress.json: where an attempt stands, for tables and bars. Replaced about once a second."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from specs.files import MetricLine
from watchers.training_phases import TrainingPhases
from watchers.verdict import as_json

MOST_METRICS = 1000
"""More metrics than this are left out of the file (they are judged all the same)."""

_INTERVALS = 200
_PAUSE = 5.0


class Pace:
    """Steps per second: the median of the last 200 intervals between steps, pauses left out.

    A pause (an evaluation, a checkpoint, a suspended machine) is an interval of more than five times
    the median seconds per step.
    """

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._step: int | None = None
        self._t = 0.0

    def take(self, step: int, t: float) -> None:
        """The first line of a step counts; a step that goes back begins anew."""
        if self._step == step:
            return
        if self._step is not None and step > self._step and t > self._t:
            self._intervals.append((t - self._t) / (step - self._step))
        self._step, self._t = step, t

    def steps_per_s(self) -> float | None:
        """None before the second step."""
        if not self._intervals:
            return None
        middle = statistics.median(self._intervals)
        running = statistics.median(s for s in self._intervals if s <= _PAUSE * middle)
        return 1.0 / running if 1.0 / running < math.inf else None


class Progress:
    """Latest and lowest finite value of every metric, in file order, and the pace.

    Where the training has phases, the lowest value is one of the phase that the metric was measured in last.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        self._step: int | None = None
        self._latest: dict[str, tuple[int, float]] = {}
        self._best: dict[str, tuple[int, float]] = {}
        self._training = TrainingPhases()

    def take(self, line: MetricLine) -> None:
        self._step = line.step
        self._training = self._training.take(line)
        self.pace.take(line.step, line.t)
        for metric, value in line.metrics.items():
            if metric not in self._latest and len(self._latest) >= MOST_METRICS:
                continue
            self._latest[metric] = (line.step, value)
            best = self._best.get(metric)
            if best is not None and best[0] < self._training.since <= line.step:
                del self._best[metric]
                best = None
            if math.isfinite(value) and (best is None or value < best[1]):
                self._best[metric] = (line.step, value)

    def as_json(self, *, t: float, points: int, checkpoints: Mapping[int, object]) -> bytes:
        """``checkpoints``: what is to be said of each, by step."""
        content = {
            "t": t,
            "step": self._step,
            "phase": self._phase(),
            "latest": _table(self._latest),
            "best": _table(self._best),
            "steps_per_s": self.pace.steps_per_s(),
            "points": points,
            "checkpoints": {str(step): said for step, said in sorted(checkpoints.items())},
        }
        return json.dumps(content, allow_nan=False).encode() + b"\n"

    def _phase(self) -> dict[str, object] | None:
        """None where no phase is named; ``since`` None where the attempt began in it."""
        training = self._training
        if training.name is None:
            return None
        return {"name": training.name, "since": training.since if training.entered else None}


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in place at once, without waiting for the disk: it is made again every second."""
    temporary = path.with_name(f".{path.name}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    temporary.replace(path)


def _table(points: Mapping[str, tuple[int, float]]) -> dict[str, dict[str, object]]:
    return {
        metric: {"step": step, "value": as_json(value)} for metric, (step, value) in points.items()
    }
