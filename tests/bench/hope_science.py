"""``python -m tests.bench.hope_science DIR``: trains the runs of specs/hope_science.yaml one after another, here.

What was trained lies in DIR, and a run goes on from there: ``--minutes`` ends a piece of work. ``--runs`` and ``--seeds``
choose; ``--table`` only prints what there is, ``--draw FOLDER`` draws it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from specs.load import load
from specs.trainer_hope import HopeTrainer
from tests.bench import hope_science_pictures as pictures
from tests.bench import hope_science_tables as tables
from trainers.data import clips
from trainers.data.clips import ClipSource
from trainers.hope import judge
from trainers.hope.feed import Feed
from trainers.hope.trainer import HopeTraining, build
from trainers.protocol import NonFinite, Snapshot

SPEC = Path(__file__).parents[2] / "specs" / "hope_science.yaml"
KEPT = ("loss/total", "train/grad_norm", "grad/block_ratio", "grad/non_finite", "memory/retention")
"""What is kept of every step: the worst of a step is what the claim about gradients is about."""

Errors = Sequence[Sequence[float]]


@dataclass(kw_only=True)
class Result:
    """Of one run and seed. ``steps``: every training step's metrics; ``validation``: by step."""

    run: str
    seed: int
    steps: list[dict[str, float]] = field(default_factory=list)
    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    ended: str = ""  # "" while it goes on, then "done" or what was not finite
    jump_errors: Errors = ()  # of a finished jump: prediction (tau) by target (tau'), 1 .. T each
    copy_errors: Sequence[float] = ()  # of frame 0 in place of frame tau


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--runs", nargs="*", default=[])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--draw", type=Path)
    asked = parser.parse_args()
    if not asked.table and asked.draw is None:
        torch.set_num_threads(1)
        until = time.monotonic() + 60 * asked.minutes
        for seed in asked.seeds:
            for run in asked.runs or list(load(SPEC, profile=asked.profile).spec.runs):
                _go_on(asked.dir, asked.profile, run, seed, torch.device(asked.device), until)
    found = results(asked.dir)
    print(tables.text(found))
    if asked.draw is not None:
        for path in pictures.draw(found, asked.draw):
            print(path)


def results(folder: Path) -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(path.read_text()) for path in sorted(folder.glob("*.json")))


def _go_on(
    folder: Path, profile: str, run: str, seed: int, device: torch.device, until: float
) -> None:
    """Train until the end, or until the time is up; then keep where it stands."""
    folder.mkdir(parents=True, exist_ok=True)
    kept, state = folder / f"{run}_{seed}.json", folder / f"{run}_{seed}.pt"
    result = Result(**json.loads(kept.read_text())) if kept.exists() else Result(run=run, seed=seed)
    if result.ended or time.monotonic() > until:
        return
    settings = _settings(profile, run, seed)
    source = clips.load(settings.data, seed, folder / "clips", device, tasks=("base",))
    trainer = build(settings, source, device=device)
    if state.exists():
        trainer.restore(Snapshot(**torch.load(state, weights_only=False)))
    try:
        while trainer.step < trainer.total_steps and time.monotonic() < until:
            _step(trainer, result)
    except NonFinite as error:
        result.ended = f"step {trainer.step + 1}: {error}"
    if trainer.step == trainer.total_steps:
        result.ended = "done"
        if settings.losses.jump > 0 and settings.losses.teacher == 0:
            result.jump_errors, result.copy_errors = _jump_errors(trainer, settings, source, device)
    if not result.ended:
        snapshot = trainer.snapshot()
        torch.save({"tensors": snapshot.tensors, "scalars": snapshot.scalars}, state)
    kept.write_text(json.dumps(asdict(result)))
    print(
        f"{run}, seed {seed}: step {trainer.step}, {result.ended or 'to be continued'}", flush=True
    )


def _settings(profile: str, run: str, seed: int) -> HopeTrainer:
    loaded = load(SPEC, profile=profile, sets=(f"defaults.trainer.seed={seed}",))
    trainer = loaded.spec.runs[run].trainer
    assert isinstance(trainer, HopeTrainer)
    return trainer


def _step(trainer: HopeTraining, result: Result) -> None:
    measured = trainer.advance()
    result.steps.append({name: measured[name] for name in KEPT if name in measured})
    if trainer.step % trainer.evaluate_every == 0 or trainer.step in (1, trainer.total_steps):
        result.validation[str(trainer.step)] = dict(trainer.evaluate())


@torch.no_grad()
def _jump_errors(
    trainer: HopeTraining, settings: HopeTrainer, source: ClipSource, device: torch.device
) -> tuple[Errors, Sequence[float]]:
    """Mean L1, [tau - 1][tau' - 1] of the jump to tau against frame tau', and of frame 0.

    On validation clips; on those learnt from, where they are few enough to be learnt by heart.
    """
    model, T = trainer.model, settings.context
    feed = Feed(source, settings, device)

    def judged(batch: Any) -> judge.Errors:
        true = model.normalise(batch.features)
        first = batch.inputs().first(1)
        found: judge.Errors = {}
        for tau in range(1, T + 1):
            target = torch.full((len(true),), tau, device=device)
            predicted = model(first, target=target).features[:, 0]
            for other in range(1, T + 1):
                found[f"{tau} {other}"] = (predicted - true[:, other]).abs().mean()
            found[f"copy {tau}"] = (true[:, 0] - true[:, tau]).abs().mean()
        return found

    learnt = [("base", int(i)) for i in source.train("base")]
    by_heart = len(learnt) <= settings.batch
    mean = judge.mean_over([feed.gather(learnt)] if by_heart else feed.validation(["base"]), judged)
    matrix = [[float(mean[f"{a} {b}"]) for b in range(1, T + 1)] for a in range(1, T + 1)]
    return matrix, [float(mean[f"copy {tau}"]) for tau in range(1, T + 1)]


if __name__ == "__main__":
    main()
