"""A probe from a checkpoint's directory to rows: opens it, reads its text, measures, draws."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from specs.files import BadCheckpoint
from trainers.device import prepare
from trainers.ep.block import Params
from trainers.ep.open import Opened, open_checkpoint
from trainers.ep.probes import MODULES, Say
from trainers.ep.probes.model import Model
from trainers.ep.probes.plots import PICTURES, draw
from trainers.ep.text import text_of
from trainers.failure import CouldNotStart
from trainers.probe_answer import as_json, check_plot, read_options, save_plot
from trainers.probe_order import Order, Refused

NAMES = {"parameters": ("parameters",), "average": ("average",), "both": ("parameters", "average")}


def measure(name: str, checkpoint: Path, order: Order, *, say: Say) -> dict[str, Any]:
    """Rows of the probe as JSON, and the columns of its table. Raises Refused."""
    if name not in MODULES:
        raise Refused("usage", f"there is no probe {name}; there are: {', '.join(MODULES)}")
    if order.of not in NAMES:
        raise Refused("usage", f"of is {order.of!r}, allowed: {', '.join(NAMES)}")
    module = import_module(MODULES[name])
    options = read_options(module.Options, order.options)
    check_plot(name, order, PICTURES)
    prepare(order.threads)
    torch.set_float32_matmul_precision("highest")
    models = _models(checkpoint, order, say)
    try:
        rows = [row for model in models for row in module.probe(model, options, say)]
    except ValueError as error:
        raise Refused("checkpoint", f"{checkpoint}: {error}") from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise Refused(
            "memory", f"out of memory on {order.device}: take fewer --sequences"
        ) from error
    if order.plot is not None:
        save_plot(Path(order.plot), partial(draw, name, rows), replace=order.replace)
    columns = list(type(rows[0]).COLUMNS) if rows else []
    return {"columns": columns, "data": [as_json(row) for row in rows]}


def _models(checkpoint: Path, order: Order, say: Say) -> list[Model]:
    """The parameters that are meant, in double precision, on the first validation sequences."""
    if not checkpoint.is_dir():
        raise Refused("checkpoint", f"{checkpoint} is no directory of a checkpoint")
    device = _device(order)
    try:
        opened = open_checkpoint(checkpoint)
        data = text_of(opened)
        count = order.sequences or opened.settings.spectrum.sequences
        idx, y = data.validation(count, opened.settings.context)
    except BadCheckpoint as error:
        raise Refused("checkpoint", str(error)) from error
    except CouldNotStart as error:
        raise Refused("text", f"the text of {checkpoint} cannot be used: {error}") from error
    say(f"{checkpoint.name}: step {opened.step}, {count} validation sequence(s), on {device}")
    return [
        Model(
            name=name,
            settings=opened.settings,
            params=_double(_named(opened, name), device),
            idx=idx.to(device),
            y=y.to(device),
        )
        for name in NAMES[order.of]
    ]


def _device(order: Order) -> torch.device:
    if order.device == "cuda" and not torch.cuda.is_available():
        raise Refused("device", f"torch {torch.__version__} sees no GPU")
    return torch.device(order.device)


def _named(opened: Opened, name: str) -> Params:
    return opened.params if name == "parameters" else opened.ema


def _double(params: Params, device: torch.device) -> Params:
    return Params(*(t.to(device, torch.float64) for t in params))
