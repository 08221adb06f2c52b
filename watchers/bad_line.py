"""Why a line of metrics.jsonl is no metric line: what it has, what it lacks, and which line it is."""

from __future__ import annotations

import json
import math
from pathlib import Path

from specs.files import metric_value, phase_name

FORM = '{"t": unix seconds, "step": whole number, "m": {"name": number}}'
LARGEST_STEP = 2**63 - 1

_SHOWN = 80
_NAMES = 8
_BLOCK = 1 << 16


def why_not(line: bytes) -> str:
    """What is wrong with a line that is no metric line, and the form that it must have."""
    cut = line[:_SHOWN]
    shown = repr(cut) if cut == line else f"{cut!r}..."
    return f"no metric line: {shown} {_fault(line)}; needed: {FORM}"


def line_number(path: Path, offset: int) -> int:
    """Which line of a file, from 1, begins at a byte offset. Raises OSError."""
    newlines, left = 0, offset
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(_BLOCK, left))):
            newlines += block.count(b"\n")
            left -= len(block)
    return newlines + 1


def _fault(line: bytes) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "is no JSON"
    if not isinstance(value, dict):
        return "is JSON, but no object"
    if missing := [key for key in ("t", "step", "m") if key not in value]:
        return f"has {_listed(list(value))}, but no {' and no '.join(missing)}"
    return "; ".join(_wrong_values(value)) or "cannot be kept"


def _wrong_values(value: dict[str, object]) -> list[str]:
    """A sentence for each field that is there and is not what it must be."""
    t, step, metrics = value["t"], value["step"], value["m"]
    found = []
    seconds = metric_value(t)
    if seconds is None or not math.isfinite(seconds):
        found.append(f"has t {_shown(t)}, which is no time")
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= LARGEST_STEP:
        found.append(f"has step {_shown(step)}, which is no whole number from 0 on")
    if not isinstance(metrics, dict):
        found.append(f"has m {_shown(metrics)}, which is no map of names to numbers")
    else:
        odd = [f"{name} {_shown(v)}" for name, v in metrics.items() if metric_value(v) is None]
        found += [f"has in m {', '.join(odd[:_NAMES])}, which is no number"] if odd else []
    if (phase := _wrong_phase(value.get("phase"))) is not None:
        found.append(phase)
    return found


def _wrong_phase(phase: object) -> str | None:
    try:
        phase_name(phase)
    except ValueError as error:
        return f"has phase {_shown(phase)}: {error}"
    return None


def _listed(names: list[str]) -> str:
    more = [f"{len(names) - _NAMES} more"] if len(names) > _NAMES else []
    return ", ".join([*(name[:_SHOWN] for name in names[:_NAMES]), *more]) or "nothing"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
