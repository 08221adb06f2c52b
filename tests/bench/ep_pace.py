"""``python -m tests.bench.ep_pace CHECKPOINT ... [--with hinge.ratio=0,adjoint.max_steps=41]``: a late training step.

What a step costs changes along a training: its adjoint takes more applications. So it is timed here from
checkpoints, going on with their own settings and, for every ``--with``, with these changed. All take turns in one
process, alone on the device; the first is what the others are compared with.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from ruamel.yaml import YAML

from specs.trainer_ep import EpTrainer
from tests.bench.report import Result, Row, as_text
from trainers import checkpoint
from trainers.ep.open import open_checkpoint
from trainers.ep.text import text_of
from trainers.ep.trainer import EpTraining, build

WARM_UP = 16
"""Steps: graphs are captured, code is compiled."""


@dataclass(kw_only=True)
class Pace:
    """One training that goes on, and what its steps took."""

    what: str
    trainer: EpTraining
    seconds: list[float] = field(default_factory=list)  # a step, one entry a round
    applications: list[float] = field(default_factory=list)  # of the adjoint, one entry a step

    def go_on(self, steps: int) -> None:
        cuda = self.trainer.describe()["device"].startswith("cuda")
        if cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            metrics = self.trainer.advance()
            self.applications.append(metrics.get("adjoint/steps", 0.0))
        if cuda:
            torch.cuda.synchronize()
        self.seconds.append((time.perf_counter() - began) / steps)


def changed(settings: EpTrainer, changes: str) -> EpTrainer:
    """``settings`` with ``a.b=value,...`` in place; raises ValueError (pydantic's, too) on what it can not be."""
    tree = settings.model_dump(mode="json")
    for change in filter(None, changes.split(",")):
        path, equals, value = change.partition("=")
        *outer, last = path.split(".")
        below = tree
        for name in outer:
            below = below.get(name, {})
        if not equals or last not in below:
            raise ValueError(f"{change}: no setting of the trainer is called {path}")
        below[last] = YAML(typ="safe").load(value)
    return EpTrainer.model_validate(tree)


def paces(checkpoints: Sequence[Path], variants: Sequence[str], device: torch.device) -> list[Pace]:
    """Every variant of every checkpoint, restored."""
    found = []
    for path in checkpoints:
        opened = open_checkpoint(path)
        for variant in variants:
            trainer = build(changed(opened.settings, variant), text_of(opened), device=device)
            trainer.restore(checkpoint.load(path).snapshot)
            name = f"{path.parents[2].name}@{opened.step}" + (f", {variant}" if variant else "")
            found.append(Pace(what=name, trainer=trainer))
    return found


def measure(found: Sequence[Pace], *, rounds: int, steps: int) -> Result:
    for pace in found:
        pace.go_on(WARM_UP)
        pace.seconds.clear()
        pace.applications.clear()
    for _ in range(rounds):
        for pace in found:
            pace.go_on(steps)
    first = found[0].what
    rows = [
        Row(what=p.what, samples=tuple(p.seconds), against=None if p.what == first else first)
        for p in found
    ]
    notes = tuple(
        f"{p.what}: {statistics.mean(p.applications):.1f} applications of J^T a step" for p in found
    )
    title = f"a training step, mean of {steps}; {rounds} rounds in turns"
    return Result(name="ep_pace", title=title, rows=tuple(rows), notes=notes)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ep_pace", description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--with", dest="variants", action="append", default=[], metavar="CHANGES")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args(argv)
    found = paces(asked.checkpoints, ["", *asked.variants], torch.device(asked.device))
    print(as_text(measure(found, rounds=asked.rounds, steps=asked.steps)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
