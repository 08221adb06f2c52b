"""What `campaign params` runs, ``python -P -E -m trainers.params ORDER``: the parameters of runs, by group.

The order names a JSON file with the settings of each run's trainer. No weight is drawn: a HOPE model is built on
the meta device, an EP block only shaped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.data.child import Refused, Say, run

if TYPE_CHECKING:
    from specs.trainer_ep import EpTrainer
    from specs.trainer_hope import HopeTrainer

EP_GROUPS: Mapping[str, tuple[str, ...]] = {
    "embeddings": ("E", "pos"),
    "layer_norms": ("ln1_gain", "ln1_bias", "ln2_gain", "ln2_bias"),
    "attention": ("W_Q", "W_K", "W_V", "W_O"),
    "mlp": ("W_1", "b_1", "W_2", "b_2"),
    "readout": ("W_h",),
}
"""Tensors of `trainers.ep.block.Params`."""


@dataclass(frozen=True, kw_only=True)
class ParamsOrder:
    """``trainers``: the JSON file, settings by run. ``scratch``: where a tokenizer may be kept while this runs."""

    trainers: str
    scratch: str


def work(order: ParamsOrder, say: Say) -> Sequence[Mapping[str, Any]]:
    """One row a run: ``run``, ``kind``, ``groups``, ``total``."""
    del say
    trainers: dict[str, Any] = json.loads(Path(order.trainers).read_text(encoding="utf-8"))
    return [_row(name, settings, Path(order.scratch)) for name, settings in trainers.items()]


def _row(name: str, settings: Mapping[str, Any], scratch: Path) -> Mapping[str, Any]:
    """Imports torch, so that a wrong command line is answered at once."""
    from specs.trainer_ep import EpTrainer
    from specs.trainer_hope import HopeTrainer

    written, kind = json.dumps(settings), settings["kind"]
    if kind == "hope":
        groups = hope_groups(HopeTrainer.model_validate_json(written))
    else:
        groups = ep_groups(EpTrainer.model_validate_json(written), scratch)
    return {"run": name, "kind": kind, "groups": groups, "total": sum(groups.values())}


def hope_groups(settings: HopeTrainer) -> dict[str, int]:
    """Of the predictor, by the groups of its optimiser."""
    import torch

    from trainers.hope.groups import sizes
    from trainers.hope.model import Predictor

    with torch.device("meta"):
        model = Predictor(
            settings.model,
            grid=settings.data.grid,
            feature_width=settings.data.feature_width,
            context=settings.context,
        )
    return {group: count for group, count in sizes(model).items() if group != "total"}


def ep_groups(settings: EpTrainer, scratch: Path) -> dict[str, int]:
    """Of the block, its embeddings and its readout; how many words there are only the text knows."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from trainers.data.load import load
    from trainers.data.windows import BadText
    from trainers.ep.block import init

    try:
        vocabulary = load(settings.data, settings.seed, scratch).vocabulary
    except BadText as error:
        raise Refused("missing", str(error)) from error
    with FakeTensorMode():
        shaped = init(settings, vocabulary, torch.Generator())._asdict()
    return {group: sum(shaped[t].numel() for t in of) for group, of in EP_GROUPS.items()}


if __name__ == "__main__":
    sys.exit(run(sys.argv, ParamsOrder, work))
