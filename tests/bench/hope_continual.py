"""``python -m tests.bench.hope_continual DIR``: continual learning over several seeds, one run after another, here.

The runs of specs/hope_fixed.yaml under its profile `small`. What is done lies in DIR and is not done again; no run is
begun after ``--minutes``. ``--table`` only prints what there is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from specs.load import load
from specs.trainer_hope import HopeTrainer
from trainers.data import clips
from trainers.hope.continual.metrics import gap_closed
from trainers.hope.continual.protocol import tasks_of
from trainers.hope.trainer import build

SPEC = Path(__file__).parents[2] / "specs" / "hope_fixed.yaml"
LOWER, UPPER = "vit_lower", "vit_upper"
COLUMNS = ("avg_error", "forgetting", "plasticity")

Result = Mapping[str, Any]
"""Of one run and seed: ``run``, ``seed``, ``minutes``, and ``report``, the content of its continual.json."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--profile", default="small")
    parser.add_argument("--runs", nargs="*", default=[])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if not asked.table:
        torch.set_num_threads(1)
        until = time.monotonic() + 60 * asked.minutes
        for seed in asked.seeds:
            for run in asked.runs or list(load(SPEC, profile=asked.profile).spec.runs):
                kept = asked.dir / f"{run}_{seed}.json"
                if not kept.exists() and time.monotonic() < until:
                    _train(kept, asked.profile, run, seed, torch.device(asked.device))
    found = [json.loads(path.read_text()) for path in sorted(asked.dir.glob("*.json"))]
    print(table(found))


def _train(kept: Path, profile: str, run: str, seed: int, device: torch.device) -> None:
    """The whole protocol; its matrices are kept at the end."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    settings = _settings(profile, run, seed)
    assert settings.continual is not None
    source = clips.load(
        settings.data,
        seed,
        kept.parent / "clips",
        device,
        tasks=tasks_of(settings),
        held_out=settings.continual.held_out,
    )
    trainer = build(settings, source, device=device)
    while trainer.step < trainer.total_steps:
        trainer.advance()
    trainer.evaluate()
    report = trainer.course.report([phase.name for phase in trainer.phases])
    minutes = (time.monotonic() - began) / 60
    kept.write_text(json.dumps({"run": run, "seed": seed, "minutes": minutes, "report": report}))
    print(f"{run}, seed {seed}: {trainer.total_steps} steps, {minutes:.1f} min", flush=True)


def _settings(profile: str, run: str, seed: int) -> HopeTrainer:
    loaded = load(SPEC, profile=profile, sets=(f"defaults.trainer.seed={seed}",))
    trainer = loaded.spec.runs[run].trainer
    assert isinstance(trainer, HopeTrainer)
    return trainer


def table(results: Sequence[Result]) -> str:
    """A row a run and mode: mean and deviation over seeds; the gap of each seed between its own bounds."""
    by_run = {
        name: {r["seed"]: r for r in results if r["run"] == name}
        for name in dict.fromkeys(r["run"] for r in results)
    }
    lines = ["| run | seeds | writes | average error | forgetting | plasticity | gap closed, % |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, found in sorted(by_run.items()):
        for mode in ("on", "off"):
            cells = [_over_seeds(found, mode, column) for column in COLUMNS]
            cells.append(_gaps(found, by_run, mode))
            lines.append(f"| `{name}` | {len(found)} | {mode} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _over_seeds(found: Mapping[int, Result], mode: str, column: str) -> str:
    values = [_metrics(result, mode).get(column) for result in found.values()]
    return _spread([v for v in values if v is not None], lambda value: f"{value:.4f}")


def _gaps(
    found: Mapping[int, Result], by_run: Mapping[str, Mapping[int, Result]], mode: str
) -> str:
    lower, upper = by_run.get(LOWER, {}), by_run.get(UPPER, {})
    gaps = [
        gap_closed(*(_metrics(of, mode)["avg_error"] for of in (lower[seed], result, upper[seed])))
        for seed, result in found.items()
        if seed in lower and seed in upper
    ]
    return _spread(gaps, lambda value: f"{value:.1f}")


def _metrics(result: Result, mode: str) -> Mapping[str, float]:
    metrics: Mapping[str, float] = result["report"]["modes"][mode]["metrics"]
    return metrics


def _spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """mean +- deviation."""
    if not values:
        return "—"
    deviation = f" +- {form(stdev(values))}" if len(values) > 1 else ""
    return f"{form(mean(values))}{deviation}"


if __name__ == "__main__":
    main()
