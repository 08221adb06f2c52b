"""Files for people about a protocol: its matrix and what it says, and a picture of it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainers.hope.continual.course import Course
from trainers.hope.continual.metrics import Matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trainers.hope.trainer import HopeTraining

TITLES = {"error": "error", "last": "error at the last frame of a teacher pass"}
"""Of the measures of a course."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """``files``: content by name; ``notes``: what could not be made, and why."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()


def artifacts(trainer: HopeTraining) -> Report:
    """continual.json and, with matplotlib, continual.png; nothing before a first phase was judged."""
    course = trainer.course
    if not course.rows:
        return Report()
    phases = [phase.name for phase in trainer.phases]
    text = json.dumps(course.report(phases), indent=1, allow_nan=False) + "\n"
    files = {"continual.json": text.encode()}
    try:
        files["continual.png"] = picture(course, phases)
    except ImportError as error:
        return Report(
            files=files, notes=[f"no continual.png: matplotlib cannot be imported ({error})"]
        )
    return Report(files=files)


def picture(course: Course, phases: Sequence[str]) -> bytes:
    """PNG: a heat map a mode and measure, a row a phase that was judged, a column a task. Raises ImportError."""
    from matplotlib.figure import Figure

    wide = 2.5 + 1.1 * len(course.tasks) * len(course.modes)
    high = len(TITLES) * (1.7 + 0.5 * course.rows)
    figure = Figure(figsize=(wide, high), layout="constrained")
    axes = figure.subplots(len(TITLES), len(course.modes), squeeze=False)
    for row, measure in zip(axes, TITLES, strict=True):
        for one, mode in zip(row, course.modes, strict=True):
            _heat_map(one, course.matrix(mode, measure), course.tasks, phases)
            one.set_title(f"{TITLES[measure]}, writes {mode}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _heat_map(axes: Axes, matrix: Matrix, tasks: Sequence[str], phases: Sequence[str]) -> None:
    axes.imshow(matrix, cmap="viridis_r", aspect="auto")
    axes.set_xticks(range(len(tasks)), tasks, rotation=35, ha="right")
    axes.set_yticks(range(len(matrix)), phases[: len(matrix)])
    middle = (min(map(min, matrix)) + max(map(max, matrix))) / 2
    for i, row in enumerate(matrix):
        for j, error in enumerate(row):
            ink = "white" if error > middle else "black"
            axes.text(j, i, f"{error:.3f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set(xlabel="judged on", ylabel="after phase")
