"""Files for people about a protocol: its matrix and what it says, and a picture of it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainers.hope.continual.course import Course
from trainers.hope.continual.metrics import Matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from trainers.hope.trainer import HopeTraining

TITLES = {"error": "error", "last": "error at the last frame of a teacher pass"}
"""Of the measures of a course."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """``files``: content by name; ``notes``: what could not be made, and why."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: Sequence[str] = ()


def artifacts(trainer: HopeTraining, name: str) -> Report:
    """continual.json and, with matplotlib, continual.png; nothing before a first phase was judged.

    ``name``: of the run, for people.
    """
    course = trainer.course
    if not course.rows:
        return Report()
    phases = [phase.name for phase in trainer.phases]
    text = json.dumps(course.report(phases), indent=1, allow_nan=False) + "\n"
    files = {"continual.json": text.encode()}
    try:
        files["continual.png"] = picture(
            course, phases, f"{name} ({trainer.model.settings.pattern})"
        )
    except ImportError as error:
        return Report(
            files=files, notes=[f"no continual.png: matplotlib cannot be imported ({error})"]
        )
    return Report(files=files)


def picture(course: Course, phases: Sequence[str], title: str) -> bytes:
    """`heat_maps` as PNG. Raises ImportError."""
    buffer = io.BytesIO()
    heat_maps(course, phases, title).savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def heat_maps(course: Course, phases: Sequence[str], title: str) -> Figure:
    """The errors on one scale, a row a phase that was judged, a column a task. Raises ImportError.

    A map for each measure and mode; modes between which nothing differs, as of a net without memories,
    share one.
    """
    from matplotlib.figure import Figure

    maps = {measure: _distinct(course, measure) for measure in TITLES}
    columns = max(len(of) for of in maps.values())
    size = (3.5 + 1.1 * len(course.tasks) * columns, 0.6 + len(TITLES) * (1.7 + 0.5 * course.rows))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(TITLES), columns, squeeze=False)
    low, high = _range(matrix for of in maps.values() for matrix, _ in of)
    for row, (measure, of) in zip(axes, maps.items(), strict=True):
        for one in row[len(of) :]:
            one.remove()
        for one, (matrix, modes) in zip(row, of, strict=False):
            shades = _heat_map(one, matrix, course.tasks, phases, low, high)
            never_differs = columns == 1 and len(course.modes) > 1
            one.set_title(
                TITLES[measure] + ("" if never_differs else f", writes {' and '.join(modes)}")
            )
    figure.colorbar(shades, ax=figure.axes, label="error, lower is better", shrink=0.8, aspect=30)
    return figure


def _distinct(course: Course, measure: str) -> list[tuple[Matrix, list[str]]]:
    """The matrices of a measure that differ, each with the modes that it is of."""
    found: list[tuple[Matrix, list[str]]] = []
    for mode in course.modes:
        matrix = course.matrix(mode, measure)
        for known, modes in found:
            if known == matrix:
                modes.append(mode)
                break
        else:
            found.append((matrix, [mode]))
    return found


def _range(matrices: Iterable[Matrix]) -> tuple[float, float]:
    """The lowest and the highest finite error; 0 and 1 where there is none."""
    finite = [
        error for matrix in matrices for row in matrix for error in row if math.isfinite(error)
    ]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def _heat_map(
    axes: Axes, matrix: Matrix, tasks: Sequence[str], phases: Sequence[str], low: float, high: float
) -> AxesImage:
    """Errors from ``low`` to ``high`` as colours, and each as a number."""
    shades = axes.imshow(matrix, cmap="viridis_r", aspect="auto", vmin=low, vmax=high)
    axes.set_xticks(range(len(tasks)), tasks, rotation=35, ha="right")
    axes.set_yticks(range(len(matrix)), phases[: len(matrix)])
    for i, row in enumerate(matrix):
        for j, error in enumerate(row):
            ink = "white" if error > (low + high) / 2 else "black"
            axes.text(j, i, f"{error:.3f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set(xlabel="judged on", ylabel="after phase")
    return shades
