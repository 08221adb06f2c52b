"""The line of metrics.jsonl, which any program in any language may write. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricLine:
    """Metrics of one step: ``t`` in unix seconds."""

    t: float
    step: int
    metrics: Mapping[str, float]


def metric_line(t: float, step: int, metrics: Mapping[str, float]) -> bytes:
    """One line for metrics.jsonl; NaN and infinities become strings, as JSON has none."""
    return (
        json.dumps(
            {"t": t, "step": step, "m": {key: _as_json(float(v)) for key, v in metrics.items()}},
            allow_nan=False,
        ).encode()
        + b"\n"
    )


def parse_metric_line(line: bytes) -> MetricLine | None:
    """The metrics of one complete line; None if the line is torn or no metric line."""
    try:
        value = json.loads(line)
        step = value["step"]
        if isinstance(step, bool) or not isinstance(step, int):
            return None
        return MetricLine(
            t=_as_float(value["t"]),
            step=step,
            metrics={str(key): _as_float(v) for key, v in value["m"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def metric_value(value: object) -> float | None:
    """A value of a metric line as a number; None if it is none."""
    try:
        return _as_float(value)
    except (ValueError, KeyError, OverflowError):
        return None


def _as_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _as_float(value: object) -> float:
    if isinstance(value, str):
        return _NONFINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def complete_lines(data: bytes) -> Iterable[bytes]:
    """The complete lines in ``data``; what follows the last newline is still being written."""
    return data[: data.rfind(b"\n") + 1].splitlines()
