"""What a campaign means in size: runs, steps, width, devices, and the ratio of two profiles' work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from specs.errors import SpecErrors
from specs.examine import examine
from specs.source import read_tree
from specs.trainer_ep import EpTrainer
from specs.tree import plain

Run = Mapping[str, Any]
"""A merged run as plain data; what is not written is the default."""


def size_of(runs: Sequence[Run]) -> str:
    """``5 runs of ep: 600 steps, width 64, 1 CPU slot each``."""
    trainers = [run.get("trainer") or {} for run in runs]
    parts = [
        _range([t["steps"] for t in trainers if "steps" in t], "step"),
        _named("width", {t["width"] for t in trainers if "width" in t}),
        _devices([run.get("resources") or {} for run in runs]),
    ]
    kinds = "+".join(dict.fromkeys(str(t.get("kind")) for t in trainers))
    each = "" if len(runs) == 1 else " each"
    return f"{_count(len(runs), 'run')} of {kinds}: {', '.join(filter(None, parts))}{each}"


def work_of(runs: Sequence[Run]) -> float | None:
    """Arithmetic of the campaign up to a constant; None unless all its runs train EP.

    Sequences seen, times tokens, times the square of the width, times relaxation steps.
    """
    total = 0.0
    for run in runs:
        trainer = run.get("trainer") or {}
        if trainer.get("kind") != "ep":
            return None
        get = _with_defaults(trainer)
        relaxed = (trainer.get("relaxation") or {}).get("T1", EpTrainer(kind="ep").relaxation.T1)
        total += get("steps") * get("batch") * get("context") * get("width") ** 2 * relaxed
    return total


def other_profiles(text: str, chosen: str | None, base: Path) -> dict[str, list[Run]]:
    """The runs under each profile that was not taken, checked or not."""
    try:
        tree, _ = read_tree(text, "")
    except SpecErrors:
        return {}  # a campaign that was not read from a file has no profiles
    names = tree.table("profiles").entries
    return {
        name: [_plain(run) for run in examine(tree, name, (), base).runs.values()]
        for name in names
        if name != chosen
    }


def ratio(work: float | None, than: float | None) -> str:
    """``about 200,000 times the work``; nothing where it is not known or much the same."""
    if not work or not than or 0.5 < work / than < 2:
        return ""
    times = work / than
    return f"about {_rounded(times)} times the work" if times > 1 else (
        f"about 1/{_rounded(1 / times)} of the work"
    )  # fmt: skip


def _plain(run: Any) -> Run:
    value = plain(run)
    return value if isinstance(value, dict) else {}


def _with_defaults(trainer: Run) -> Any:
    defaults = EpTrainer(kind="ep")
    return lambda name: trainer.get(name, getattr(defaults, name))


def _rounded(value: float) -> str:
    """Two significant digits: no more is known."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _range(numbers: Iterable[int], what: str) -> str:
    values = sorted(set(numbers))
    if not values:
        return ""
    low, high = values[0], values[-1]
    return _count(low, what) if low == high else f"{low:,} to {high:,} {what}s"


def _named(name: str, values: set[int]) -> str:
    return f"{name} {' or '.join(f'{value:,}' for value in sorted(values))}" if values else ""


def _devices(resources: Sequence[Run]) -> str:
    """What a run holds; of several sizes, all."""
    held = [
        _count(r["gpus"], "GPU") if r.get("gpus") else _count(r.get("cpus", 1), "CPU slot")
        for r in resources
    ]
    return " or ".join(dict.fromkeys(held))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
