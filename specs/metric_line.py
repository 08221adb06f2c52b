"""The line of metrics.jsonl, which any program in any language may write. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LONGEST_PHASE = 200
"""Characters of the name of a phase."""

_NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricLine:
    """Metrics of one step: ``t`` in unix seconds.

    ``phase``: the part of the training that the step belongs to; None: that of the line before.
    """

    t: float
    step: int
    metrics: Mapping[str, float]
    phase: str | None = None


def metric_line(
    t: float, step: int, metrics: Mapping[str, float], phase: str | None = None
) -> bytes:
    """One line for metrics.jsonl; NaN and infinities become strings, as JSON has none."""
    content: dict[str, object] = {"t": t, "step": step}
    if phase is not None:
        content["phase"] = phase
    content["m"] = {key: _as_json(float(v)) for key, v in metrics.items()}
    return json.dumps(content, allow_nan=False).encode() + b"\n"


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
            phase=phase_name(value.get("phase")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def metric_value(value: object) -> float | None:
    """A value of a metric line as a number; None if it is none."""
    try:
        return _as_float(value)
    except (ValueError, KeyError, OverflowError):
        return None


def phase_name(value: object) -> str | None:
    """The phase of a metric line; None where it names none. Raises ValueError where it is no name.

    A name is a text of at most 200 characters, not empty, or a whole number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{value!r} is no phase")
    name = str(value)
    if not 0 < len(name) <= LONGEST_PHASE:
        raise ValueError(f"a phase has 1 to {LONGEST_PHASE} characters, not {len(name)}")
    return name


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
