"""Between a probe and whoever asked: its options read, its rows as JSON, its picture kept."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from trainers.probe_order import Order, Refused
from trainers.probe_pictures import FORMATS, CannotPlot


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


def check_plot(name: str, order: Order, pictures: Collection[str]) -> None:
    """Before anything is measured: a probe may take minutes. Raises Refused."""
    if order.plot is None:
        return
    path = Path(order.plot)
    if name not in pictures:
        raise Refused(
            "usage", f"there is no picture of {name}; there are of: {', '.join(pictures)}"
        )
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise Refused("usage", f"--plot {path}: the name must end in .{', .'.join(FORMATS)}")
    if path.exists() and not order.replace:
        raise Refused("exists", f"{path} is there already; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise Refused("plot", f"{path.absolute().parent} is no directory")


def save_plot(path: Path, draw: Callable[[str], bytes], *, replace: bool) -> None:
    """What ``draw`` makes of the format: whole or not at all, over another file only where asked. Raises Refused."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(draw(path.suffix.lower().removeprefix(".")))
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
