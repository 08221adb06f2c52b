"""How many blocks the proved search decomposes, and what it saves: ``python -m tests.bench.spectrum 512 256 --train 100``.

One thread. CPU seconds, not wall time, so that a busy machine disturbs little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from specs.trainer_ep import EpTrainer
from trainers.data import load
from trainers.ep.abscissa import extent
from trainers.ep.block import Params, embed, fold, force, start
from trainers.ep.linearise import Linearisation, linearise
from trainers.ep.relax import euler
from trainers.ep.spectrum import eigenvalues, rightmost_of
from trainers.ep.trainer import build


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    J = jacobian(options)
    found, seconds = timed(lambda: extent(J))
    print(f"proved: {found}, {seconds:.1f} CPU s")
    if options.all:
        mu, seconds = timed(lambda: eigenvalues(J))
        print(f"all: {rightmost_of(mu)}, {seconds:.1f} CPU s")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("width", type=int)
    parser.add_argument("context", type=int)
    parser.add_argument("--init-scale", type=float, default=0.1)
    parser.add_argument("--train", type=int, default=0, help="steps without any penalty")
    parser.add_argument("--all", action="store_true", help="all eigenvalues too")
    return parser.parse_args()


def jacobian(options: argparse.Namespace) -> Linearisation:
    """J in float64 at the relaxed state of one validation sequence of the default text."""
    settings = EpTrainer.model_validate(
        {
            "kind": "ep", "width": options.width, "heads": 16, "context": options.context,
            "batch": 1, "init_scale": options.init_scale, "device": "cpu",
            "relaxation": {"T1": 22, "t1max": 22, "eps": 0.3}, "adjoint": {"max_steps": 12}, "hinge": {"ratio": 0.0},
            "optimizer": {"lr": 4e-3, "warmup": 4}, "validation": {"sequences": 1},
        }
    )  # fmt: skip
    data = load.load(settings.data, settings.seed, Path("unused"))
    trainer = build(settings, data, threads=1)
    for _ in range(options.train):
        trainer.advance()
    params = Params(*(p.detach().double() for p in trainer.params))
    block, x = fold(params, settings), embed(params, data.validation(1, options.context)[0])
    z = euler(lambda z: force(block, z, x), start(block, x), 0.2, 100)
    residual = float(force(block, z, x).norm() / z.norm())
    print(f"after {options.train} steps, force residual {residual:.1e}")
    return linearise(block, z)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


if __name__ == "__main__":
    main()
