"""What a protocol has measured so far: errors on every task after every phase, with memories writing and frozen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from specs.files import BadCheckpoint
from specs.trainer_hope import HopeTrainer
from trainers.hope.continual import metrics
from trainers.hope.continual.protocol import tasks_of

MEASURES = ("error", "last")
"""``error``: of the jump (of the teacher pass where nothing jumps); ``last``: of the teacher pass's last frame."""

Row = Mapping[str, Mapping[str, Sequence[float]]]
"""By mode (on, off) and measure, one error a task."""


class Course:
    """Matrices R[phase][task] of every mode and measure. Grows by a row a phase."""

    def __init__(self, settings: HopeTrainer) -> None:
        self.tasks = tasks_of(settings)
        self.modes: tuple[str, ...] = settings.continual.eval_writes if settings.continual else ()
        self._matrices: dict[str, dict[str, list[list[float]]]] = {
            mode: {measure: [] for measure in MEASURES} for mode in self.modes
        }

    @property
    def rows(self) -> int:
        """Phases that were judged."""
        return len(self._matrices[self.modes[0]]["error"]) if self.modes else 0

    def matrix(self, mode: str, measure: str = "error") -> metrics.Matrix:
        return self._matrices[mode][measure]

    def add(self, row: Row) -> None:
        """The errors of one more phase."""
        for mode, measures in self._matrices.items():
            for measure, matrix in measures.items():
                matrix.append([float(value) for value in row[mode][measure]])

    def metrics(self, *, whole: bool) -> dict[str, float]:
        """The newest row as ``continual/<mode>/<measure>/<task>``; with ``whole`` what all of them say."""
        found = {}
        for mode, measures in self._matrices.items():
            for measure, matrix in measures.items():
                for task, value in zip(self.tasks, matrix[-1], strict=True):
                    found[f"continual/{mode}/{measure}/{task}"] = value
            if whole:
                for name, value in metrics.summary(measures["error"]).items():
                    found[f"continual/{mode}/{name}"] = value
        return found

    def report(self, phases: Sequence[str]) -> dict[str, Any]:
        """For continual.json. What it says of the whole is there once every phase was judged."""
        whole = self.rows == len(phases)
        return {
            "tasks": list(self.tasks),
            "phases": list(phases[: self.rows]),
            "phases_planned": list(phases),
            "sign": "errors: lower is better; forgetting and backward_transfer above 0 are forgetting",
            "modes": {
                mode: {
                    "matrix": measures["error"],
                    "last_frame": measures["last"],
                    "metrics": metrics.summary(measures["error"]) if whole and self.rows else None,
                }
                for mode, measures in self._matrices.items()
            },
        }

    def as_json(self) -> dict[str, Any]:
        """For a snapshot."""
        copied: dict[str, Any] = json.loads(json.dumps(self._matrices))
        return copied

    @classmethod
    def of_json(cls, settings: HopeTrainer, content: Any) -> Course:
        """The course that `as_json` wrote. Raises BadCheckpoint where it is of other modes or tasks."""
        course = cls(settings)
        try:
            rows = {len(content[m][k]) for m in course.modes for k in MEASURES}
            for number in range(max(rows, default=0)):
                course.add({m: {k: content[m][k][number] for k in MEASURES} for m in course.modes})
            widths = {
                len(row) for m in course.modes for k in MEASURES for row in course.matrix(m, k)
            }
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadCheckpoint(
                f"the checkpoint's matrix of errors cannot be read: {error!r}"
            ) from error
        if content.keys() != set(course.modes) or widths - {len(course.tasks)}:
            raise BadCheckpoint(
                f"the checkpoint's matrix of errors is of {sorted(content)}, this run judges "
                f"{', '.join(course.modes) or 'nothing'} on {len(course.tasks)} tasks"
            )
        return course
