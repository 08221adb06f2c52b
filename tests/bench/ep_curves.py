"""``python -m tests.bench.ep_curves HOME``: curves of the EP runs of a home, over their seeds.

A run of the same name in several campaigns is one run with several seeds. Prints val/ce at equal steps and the
distance from EP to BPTT at every validation; with ``--out DIR`` draws the pictures of docs/ep.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

from specs.files import AttemptFiles, MetricLine, parse_metric_line

CE, STEP_TIME = "val/ce", "time/step_s"
OURS, TWIN = "ep_hinge", "bptt_twin"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run of one seed: the metric lines of the newest attempt and of its ancestors, each up to where it was left."""

    run: str
    seed: int
    lines: tuple[MetricLine, ...]

    def of(self, metric: str) -> dict[int, float]:
        return {line.step: line.metrics[metric] for line in self.lines if metric in line.metrics}

    def seconds(self) -> dict[int, float]:
        """Step -> seconds of training until then: validations, checkpoints and pauses are not counted."""
        total, found = 0.0, {0: 0.0}
        for (before, _), (step, each) in pairwise([(0, 0.0), *self.of(STEP_TIME).items()]):
            total += (step - before) * each
            found[step] = total
        return found


@dataclass(frozen=True, kw_only=True)
class Band:
    """A metric at the steps that every seed has."""

    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curves_of(home: Path) -> tuple[Curve, ...]:
    """Every run below ``home`` that has metric lines, by campaign and name."""
    runs = sorted({path.parent for path in home.glob("*/*/attempt-*") if path.is_dir()})
    return tuple(curve for run in runs if (curve := _curve(run)) is not None)


def _curve(run: Path) -> Curve | None:
    attempts = {
        int(path.name.removeprefix("attempt-")): path
        for path in run.glob("attempt-*")
        if AttemptFiles(root=path).metrics.is_file()
    }
    if not attempts:
        return None
    newest = max(attempts)
    seed = _spec(attempts[newest])["spec"]["trainer"].get("seed", 0)
    lines = sorted(_line(attempts, newest), key=lambda line: (line.step, line.t))
    return Curve(run=run.name, seed=seed, lines=tuple(lines))


def _line(attempts: Mapping[int, Path], newest: int) -> Iterator[MetricLine]:
    """The points of the newest attempt, and those of its ancestors up to the step at which each was left."""
    number: int | None = newest
    until = math.inf
    while number in attempts:
        spec = _spec(attempts[number])
        for text in AttemptFiles(root=attempts[number]).metrics.read_bytes().splitlines():
            line = parse_metric_line(text)
            if line is not None and line.step <= until:
                yield line
        start = spec["start"]
        until = start["step"] or 0 if start["run"] == attempts[number].parent.name else 0
        number = spec["parent_attempt"]


def _spec(attempt: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(AttemptFiles(root=attempt).spec.read_text())
    return found


def band(curves: Sequence[Curve], metric: str) -> Band:
    """Over the seeds of one run; empty where they share no step."""
    columns = [curve.of(metric) for curve in curves]
    return _banded(columns)


def time_band(curves: Sequence[Curve]) -> Band:
    """Seconds of training at the steps of the validations."""
    return _banded(
        [
            {step: at for step, at in curve.seconds().items() if step in curve.of(CE)}
            for curve in curves
        ]
    )


def _banded(columns: Sequence[Mapping[int, float]]) -> Band:
    steps = sorted(set.intersection(*(set(column) for column in columns))) if columns else []
    rows = [[column[step] for column in columns] for step in steps]
    return Band(
        steps=tuple(steps),
        mean=tuple(mean(row) for row in rows),
        low=tuple(min(row) for row in rows),
        high=tuple(max(row) for row in rows),
    )


def by_run(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(curve.run, []).append(curve)
    return found


def gaps(ours: Sequence[Curve], twins: Sequence[Curve]) -> dict[int, float]:
    """Step -> mean over the seeds that both have of val/ce of ``ours`` minus that of ``twins``."""
    of_twin = {curve.seed: curve.of(CE) for curve in twins}
    apart = [
        {step: ce - of_twin[curve.seed][step] for step, ce in curve.of(CE).items() if step in of_twin[curve.seed]}
        for curve in ours
        if curve.seed in of_twin
    ]  # fmt: skip
    found = _banded(apart)
    return dict(zip(found.steps, found.mean, strict=True))


def crossing(curve: Curve, metric: str, above: float) -> int | None:
    """The first step at which ``metric`` is above."""
    return next((step for step, value in curve.of(metric).items() if value > above), None)


def report(curves: Sequence[Curve], every: int) -> str:
    """Table of val/ce, the distance from EP to BPTT, and when each curve lost contraction."""
    runs = by_run(curves)
    lines = [f"{CE}, mean (lowest .. highest) over the seeds"]
    for name, seeds in runs.items():
        found = band(seeds, CE)
        shown = [
            f"{m:.3f} ({low:.3f} .. {high:.3f}) @{step}"
            for step, m, low, high in zip(*vars(found).values(), strict=True)
            if step % every == 0 or step == found.steps[-1]
        ]
        last = time_band(seeds)
        seconds = f"; {last.mean[-1]:.0f} s of training" if last.steps else ""
        lines.append(f"{name} ({len(seeds)}): {', '.join(shown)}{seconds}")
    for ours, twin in ((OURS, TWIN), (OURS, "bptt_hinge"), ("bptt_hinge", TWIN)):
        apart = gaps(runs.get(ours, ()), runs.get(twin, ()))
        if apart:
            worst = max(apart, key=lambda step: apart[step])
            shown_gaps = ", ".join(
                f"{gap:+.3f} @{step}" for step, gap in apart.items() if step % every == 0
            )
            lines.append(f"{ours} - {twin}: {shown_gaps}; largest {apart[worst]:+.3f} @{worst}")
    for curve in curves:
        mu, r = (
            crossing(curve, "spectrum/estimate", 0.0),
            crossing(curve, "residual/T1", 1e-2),
        )
        if mu is not None or r is not None:
            lines.append(
                f"{curve.run}, seed {curve.seed}: estimate of max Re mu above 0 first @{mu}, residual/T1 above 1e-2 @{r}"
            )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ep_curves", description=__doc__)
    parser.add_argument(
        "home", type=Path, nargs="+", help="directories with CAMPAIGN/RUN/attempt-N"
    )
    parser.add_argument("--out", type=Path, help="directory of the pictures")
    parser.add_argument("--every", type=int, default=500, help="steps between the columns shown")
    options = parser.parse_args(argv)
    curves = [curve for home in options.home for curve in curves_of(home)]
    if not curves:
        print(f"no metrics.jsonl below {', '.join(map(str, options.home))}", file=sys.stderr)
        return 1
    print(report(curves, options.every))
    if options.out is not None:
        from tests.bench.ep_pictures import draw

        for path in draw(curves, options.out):
            print(f"written: {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
