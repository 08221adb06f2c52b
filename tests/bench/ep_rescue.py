"""``python -m tests.bench.ep_rescue CHECKPOINT``: a checkpoint of EP, whatever its spectrum, trained on with the hinge.

A campaign starts warm from certified checkpoints only, and one whose operator has lost contraction never is one.
Whether the hinge brings such an operator back is therefore tried here: parameters from the checkpoint, optimiser and
average anew, the spectral hinge of specs/ep_hopf.yaml on, no task gradient from an unconverged adjoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from specs.trainer_ep import EpTrainer
from trainers import checkpoint
from trainers.ep.open import open_checkpoint
from trainers.ep.text import text_of
from trainers.ep.trainer import EpTraining, build

SHOWN = ("residual/T1", "train/hinge_re_mu", "train/hinge_active", "train/task_used", "train/ce")
EARLY = (1, 5, 10, 20, 30, 50)


def with_hinge(settings: EpTrainer, ratio: float) -> EpTrainer:
    """The settings of a checkpoint with the hinge and the gate of the recipe, and without other penalties."""
    hinge = {"ratio": ratio, "margin": 0.5, "power_steps": 12, "every": 1}
    given = settings.model_dump(exclude_unset=True) | {"hinge": hinge, "resreg": 0.0}
    given["adjoint"] = {**given.get("adjoint", {}), "gate": 1.0}
    given.pop("jacreg", None)
    return EpTrainer.model_validate(given)


def rescued(path: Path, *, ratio: float, threads: int) -> EpTraining:
    """A training at the parameters of the checkpoint, the hinge on."""
    opened = open_checkpoint(path)
    trainer = build(with_hinge(opened.settings, ratio), text_of(opened), threads=threads)
    trainer.warm_start(checkpoint.load(path).snapshot)
    return trainer


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ep_rescue", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=50, help="steps between validations")
    parser.add_argument("--ratio", type=float, default=0.3, help="of the hinge; 0: without it")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    trainer = rescued(options.checkpoint, ratio=options.ratio, threads=options.threads)
    print(f"start: val/ce {trainer.evaluate()['val/ce']:.3f}", flush=True)
    for step in range(1, options.steps + 1):
        metrics = trainer.advance()
        if step in EARLY or step % options.every == 0:
            shown = ", ".join(f"{name} {metrics[name]:.3g}" for name in SHOWN if name in metrics)
            worth = (
                f"; val/ce {trainer.evaluate()['val/ce']:.3f}" if step % options.every == 0 else ""
            )
            print(f"step {step}: {shown}{worth}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
