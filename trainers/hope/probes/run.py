"""A probe of HOPE from a checkpoint's directory to rows: opens it, reads its clips, measures, draws."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from specs.files import BadCheckpoint
from trainers.device import prepare
from trainers.failure import CouldNotStart
from trainers.hope.probes import MODULES, Say
from trainers.hope.probes.opened import Opened, open_checkpoint
from trainers.hope.probes.plots import PICTURES, draw
from trainers.probe_answer import as_json, check_plot, read_options, save_plot
from trainers.probe_order import Order, Refused


def measure(name: str, checkpoint: Path, order: Order, *, say: Say) -> dict[str, Any]:
    """Rows of the probe as JSON, and the columns of its table. Raises Refused."""
    if name not in MODULES:
        raise Refused("usage", f"there is no probe {name}; there are: {', '.join(MODULES)}")
    if order.of == "average":
        raise Refused("usage", "a HOPE checkpoint has no average: leave --of out")
    module = import_module(MODULES[name])
    options = read_options(module.Options, order.options)
    check_plot(name, order, PICTURES)
    prepare(order.threads)
    torch.set_float32_matmul_precision("highest")
    opened = _open(checkpoint, order)
    say(f"{checkpoint.name}: {opened.settings.model.pattern}, on {opened.device}")
    try:
        rows = module.probe(opened, options, order.sequences, say)
    except (ValueError, CouldNotStart) as error:
        raise Refused("checkpoint", f"{checkpoint}: {error}") from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise Refused(
            "memory", f"out of memory on {order.device}: take fewer --sequences"
        ) from error
    if order.plot is not None:
        save_plot(Path(order.plot), partial(draw, name, rows), replace=order.replace)
    return {"columns": list(type(rows[0]).COLUMNS), "data": [as_json(row) for row in rows]}


def _open(checkpoint: Path, order: Order) -> Opened:
    if not checkpoint.is_dir():
        raise Refused("checkpoint", f"{checkpoint} is no directory of a checkpoint")
    if order.device == "cuda" and not torch.cuda.is_available():
        raise Refused("device", f"torch {torch.__version__} sees no GPU")
    try:
        return open_checkpoint(checkpoint, torch.device(order.device))
    except BadCheckpoint as error:
        raise Refused("checkpoint", str(error)) from error
    except CouldNotStart as error:
        raise Refused("clips", f"the clips of {checkpoint} cannot be used: {error}") from error
