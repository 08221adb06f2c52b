"""A probe from a checkpoint's directory to rows: opens it, reads its text, measures, draws."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
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
from trainers.ep.probes.order import Order, Refused
from trainers.ep.probes.plots import FORMATS, PICTURES, CannotPlot, draw
from trainers.ep.text import text_of
from trainers.failure import CouldNotStart

NAMES = {"parameters": ("parameters",), "average": ("average",), "both": ("parameters", "average")}


def measure(name: str, checkpoint: Path, order: Order, *, say: Say) -> dict[str, Any]:
    """Rows of the probe as JSON, and the columns of its table. Raises Refused."""
    if name not in MODULES:
        raise Refused("usage", f"there is no probe {name}; there are: {', '.join(MODULES)}")
    if order.of not in NAMES:
        raise Refused("usage", f"of is {order.of!r}, allowed: {', '.join(NAMES)}")
    module = import_module(MODULES[name])
    options = read_options(module.Options, order.options)
    _check_plot(name, order)
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
        _save(Path(order.plot), name, rows, replace=order.replace)
    columns = list(type(rows[0]).COLUMNS) if rows else []
    return {"columns": columns, "data": [as_json(row) for row in rows]}


def read_options(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """The probe's options; lists become tuples, words enums. Raises Refused naming what is wrong."""
    known = {f.name: f for f in fields(kind)}
    if strange := sorted(given.keys() - known.keys()):
        raise Refused(
            "usage", f"no such option: {', '.join(strange)}; there are: {', '.join(known)}"
        )
    values: dict[str, Any] = {}
    for name, value in given.items():
        default = known[name].default
        try:
            if isinstance(value, list):
                value = tuple(value)
            elif isinstance(default, str):
                value = type(default)(value)
        except ValueError as error:
            raise Refused("usage", f"{name}: {error}") from error
        values[name] = value
    try:
        return kind(**values)
    except ValueError as error:
        raise Refused("usage", str(error)) from error


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


def _check_plot(name: str, order: Order) -> None:
    """Before anything is measured: a probe may take minutes."""
    if order.plot is None:
        return
    path = Path(order.plot)
    if name not in PICTURES:
        raise Refused(
            "usage", f"there is no picture of {name}; there are of: {', '.join(PICTURES)}"
        )
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise Refused("usage", f"--plot {path}: the name must end in .{', .'.join(FORMATS)}")
    if path.exists() and not order.replace:
        raise Refused("exists", f"{path} is there already; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise Refused("plot", f"{path.absolute().parent} is no directory")


def _save(path: Path, name: str, rows: list[Any], *, replace: bool) -> None:
    """Whole or not at all, and over another file only where that was asked for."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(draw(name, rows, path.suffix.lower().removeprefix(".")))
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)
    except CannotPlot as error:
        raise Refused("plot", str(error)) from error
    except FileExistsError:
        raise Refused("exists", f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise Refused("plot", f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def as_json(value: Any) -> Any:
    """Dataclasses as objects, numbers that JSON lacks as the strings of the metric line."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
