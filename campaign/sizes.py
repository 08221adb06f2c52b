"""What a campaign means in size: runs, steps, width, devices, and the ratio of two profiles' work."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from specs.data_clips import training_clips
from specs.errors import SpecErrors
from specs.examine import examine
from specs.source import read_tree
from specs.trainer_ep import EpTrainer
from specs.trainer_hope import HopeTrainer
from specs.tree import plain
from trainers.hope.continual.protocol import plan, tasks_of

Run = Mapping[str, Any]
"""A merged run as plain data; what is not written is the default."""


def size_of(runs: Sequence[Run]) -> str:
    """``5 runs of ep: 600 steps, width 64, 1 CPU slot each``."""
    trainers = [run.get("trainer") or {} for run in runs]
    parts = [
        _range([n for t in trainers if (n := steps_of(t)) is not None], "step"),
        _named("width", {w for t in trainers if (w := _width(t)) is not None}),
        _devices([run.get("resources") or {} for run in runs]),
    ]
    kinds = "+".join(dict.fromkeys(str(t.get("kind")) for t in trainers))
    each = "" if len(runs) == 1 else " each"
    return f"{_count(len(runs), 'run')} of {kinds}: {', '.join(filter(None, parts))}{each}"


def steps_of(trainer: Run) -> int | None:
    """Training steps of a run, as far as its settings tell: of a protocol, those of all its phases."""
    if isinstance(steps := trainer.get("steps"), int):
        return steps
    hope = _hope(trainer)
    if hope is None or hope.continual is None:
        return None
    held_out = hope.continual.held_out
    clips = {task: training_clips(hope.data, task, held_out) for task in tasks_of(hope)}
    if any(count is None or count < 1 for count in clips.values()):
        return None
    phases = plan(hope, {task: count for task, count in clips.items() if count is not None})
    return sum(phase.steps for phase in phases)


def work_of(runs: Sequence[Run]) -> float | None:
    """Arithmetic of the campaign up to a constant; None unless all its runs are of one kind that is known.

    Of EP: sequences seen, times tokens, times the square of the width, times relaxation steps. Of HOPE the
    same with blocks for relaxation steps.
    """
    trainers = [run.get("trainer") or {} for run in runs]
    kinds = {trainer.get("kind") for trainer in trainers}
    work = {"ep": _ep_work, "hope": _hope_work}.get(str(kinds.pop())) if len(kinds) == 1 else None
    if work is None:
        return None
    each = [work(trainer) for trainer in trainers]
    known = [one for one in each if one is not None]
    return sum(known) if len(known) == len(each) else None


def _ep_work(trainer: Run) -> float | None:
    get = _with_defaults(trainer)
    relaxed = (trainer.get("relaxation") or {}).get("T1", EpTrainer(kind="ep").relaxation.T1)
    return float(get("steps") * get("batch") * get("context") * get("width") ** 2 * relaxed)


def _hope_work(trainer: Run) -> float | None:
    hope, steps = _hope(trainer), steps_of(trainer)
    if hope is None or steps is None:
        return None
    clips = steps * hope.batch * hope.accumulate
    tokens = hope.context * hope.data.grid[0] * hope.data.grid[1]
    return float(clips * tokens * hope.model.width**2 * len(hope.model.pattern))


def _hope(trainer: Run) -> HopeTrainer | None:
    """The settings, of a run of HOPE that is right."""
    if trainer.get("kind") != "hope":
        return None
    try:
        # strict models take a JSON list for a tuple only from JSON text
        return HopeTrainer.model_validate_json(json.dumps(trainer))
    except (ValidationError, TypeError, ValueError):
        return None  # whatever is wrong is said where the campaign is checked


def _width(trainer: Run) -> int | None:
    width = (trainer.get("model") or {}).get("width") if trainer.get("kind") == "hope" else None
    return width if width is not None else trainer.get("width")


def other_profiles(
    text: str, chosen: str | None, base: Path, *, only: Collection[str] = ()
) -> dict[str, list[Run]]:
    """The runs under each profile that was not taken, checked or not.

    With ``only`` those runs alone, under each profile that has them all.
    """
    try:
        tree, _ = read_tree(text, "")
    except SpecErrors:
        return {}  # a campaign that was not read from a file has no profiles
    names = tree.table("profiles").entries
    others = {name: examine(tree, name, (), base).runs for name in names if name != chosen}
    return {
        name: [_plain(run) for key, run in runs.items() if not only or key in only]
        for name, runs in others.items()
        if set(only) <= runs.keys()
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
