"""``python -m tests.bench.hope_horizon``: the least error that a jump on the puck's clips can have.

Frame 0 and the strike do not tell density, friction and the walls' restitution, on which later frames depend. So of
each clip many are made that differ in these alone: the median of their frames tau is the best guess (L1) of one who
knows all but these, and the median over all tau that of one who does not know tau either. No net is trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nnf

from specs.data_clips import PuckData
from trainers.data.puck.clips import Studio, studio
from trainers.data.puck.encoder import TUBELET
from trainers.data.puck.parameters import Array, from_units, ranges_with, units
from trainers.data.puck.physics import simulate
from trainers.data.puck.render import Scene, render, scene

UNSEEN = (2, 4, 10)
"""Columns of `parameters.units`: density, friction, restitution."""

CASES = {
    "base": {},
    "as jump_known": {
        "density": (1.0, 1.0), "friction": (0.0, 0.0), "strike": (0.15, 0.4), "spin": (0.0, 0.0),
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--draws", type=int, default=48)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name, targets in (("base", 7), ("as jump_known", 4)):
        print(f"{name}: error by target 1 .. {targets}, and their mean")
        data = PuckData.model_validate(
            {"grid": (4, 4), "feature_width": 32, "ranges": CASES[name], "frames": targets + 1}
        )
        for what, errors in _errors(data, asked.clips, asked.draws).items():
            print(f"  {what:22}", *(f"{e:.3f}" for e in errors), f"  {np.mean(errors):.4f}")


def _errors(data: PuckData, clips: int, draws: int) -> dict[str, Sequence[float]]:
    """L1 of normalised features, mean over clips, patches and channels, of frames 1 .. T."""
    own = _normalised(_alike(data.seed, clips, draws), data).unflatten(0, (clips, draws))
    true, others = own[:, 0], own[:, 1:]
    told = others.median(dim=1).values[:, 1:]
    blind = others[:, :, 1:].flatten(1, 2).median(dim=1, keepdim=True).values
    guesses = {"told tau, at best": told, "blind, at best": blind, "frame 0 as it is": true[:, :1]}
    return {
        what: (guess - true[:, 1:]).abs().mean((0, 2, 3)).tolist()
        for what, guess in guesses.items()
    }


def _alike(seed: int, clips: int, draws: int) -> Array:
    """``draws`` rows for each clip, the first of them the clip itself."""
    rows = np.repeat(units(seed, "base", range(clips)), draws, axis=0)
    drawn = np.random.default_rng(0).random((len(rows), len(UNSEEN)))
    drawn[::draws] = rows[::draws][:, UNSEEN]
    rows[:, UNSEEN] = drawn
    return rows


def _normalised(rows: Array, data: PuckData) -> Tensor:
    """Features (N, frames, P, F) as the model is judged on them."""
    of = studio(data, torch.device("cpu"))
    nothing_shifted = np.zeros((len(rows), 4), bool)
    pucks = from_units(rows, nothing_shifted, of.table, ranges_with(data.ranges.given()))
    whole = scene(pucks, simulate(pucks, of.table, TUBELET * data.frames), of.device)
    with torch.inference_mode():
        parts = [_encoded(of, part) for part in whole.parts(64)]
    return torch.cat(parts)


def _encoded(of: Studio, part: Scene) -> Tensor:
    features = of.encoder(render(part, of.table, of.size))
    return nnf.layer_norm(features, features.shape[-1:])


if __name__ == "__main__":
    main()
