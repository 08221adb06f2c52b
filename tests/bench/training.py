"""How fast a training went: from its metric lines, and from the CPU time of its process."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from specs.files import AttemptFiles, parse_metric_line
from tests.bench.figures import summary

WARM_UP_STEPS = 10
SAMPLE_EVERY = 0.1


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training, in seconds a step, its first steps left out.

    ``step``: the median over its metric lines, each of which has the mean over ``log_every`` steps.
    ``whole``: from first line to last, evaluations and checkpoints included; ``cpu``: the CPU time of
    the process in that span, which other users of the machine hardly change.
    """

    step: float
    whole: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """``cpu`` seconds had been used by all threads at ``t`` (unix seconds)."""

    t: float
    cpu: float


def attend(pid: Callable[[], int | None], over: Callable[[], bool]) -> list[Sample]:
    """Sample the process that ``pid`` names, once it does, until ``over``."""
    found: list[Sample] = []
    process: psutil.Process | None = None
    while not over():
        if process is None and (number := pid()) is not None:
            process = psutil.Process(number)
        if process is not None:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:  # it has just ended, and `over` is about to say so
                process = None
                pid = _nobody
            else:
                found.append(Sample(t=time.time(), cpu=float(times.user + times.system)))
        time.sleep(SAMPLE_EVERY)
    return found


def _nobody() -> None:
    return None


def training_of(directory: Path, samples: Sequence[Sample]) -> Training:
    """From the metric lines after the warm-up."""
    data = AttemptFiles(root=directory).metrics.read_bytes().splitlines()
    lines = [line for line in map(parse_metric_line, data) if line is not None]
    timed = [line for line in lines if "time/step_s" in line.metrics and line.step > WARM_UP_STEPS]
    first, last = timed[0], timed[-1]
    steps = last.step - first.step
    return Training(
        step=summary([line.metrics["time/step_s"] for line in timed]).median,
        whole=(last.t - first.t) / steps,
        cpu=(cpu_at(samples, last.t) - cpu_at(samples, first.t)) / steps,
    )


def cpu_at(samples: Sequence[Sample], t: float) -> float:
    """Between two samples, in proportion; beyond them, that of the nearest."""
    after = bisect_left([sample.t for sample in samples], t)
    if after == 0:
        return samples[0].cpu
    if after == len(samples):
        return samples[-1].cpu
    a, b = samples[after - 1], samples[after]
    return a.cpu + (b.cpu - a.cpu) * (t - a.t) / (b.t - a.t)
