"""Reads what certificates are judged by: evidence.json of the complete checkpoints of an attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from specs.files import EVIDENCE, AttemptFiles, read_json
from watchers.certify import Checkpoint

_NONFINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
LOOK_EVERY = 1.0
"""Seconds between listings of a directory that seems unchanged."""


class CheckpointReader:
    """Notices complete checkpoints, each once.

    The directory is listed when its modification time has changed, and every LOOK_EVERY seconds in
    any case: two changes within one tick of the file system's clock look like one.
    """

    def __init__(
        self, files: AttemptFiles, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files
        self._directory = files.checkpoints
        self._monotonic = monotonic
        self._known: set[int] = set()
        self._mtime: int | None = None
        self._due = -float("inf")

    def new(self, *, now: bool = False) -> tuple[Checkpoint, ...]:
        """The checkpoints that were not returned before. ``now``: list, whatever the clocks say."""
        try:
            mtime = self._directory.stat().st_mtime_ns
        except FileNotFoundError:
            return ()
        if not now and mtime == self._mtime and self._monotonic() < self._due:
            return ()
        self._mtime, self._due = mtime, self._monotonic() + LOOK_EVERY
        steps = [s for s in self._files.complete_checkpoints() if s not in self._known]
        self._known.update(steps)
        return tuple(read_checkpoint(self._files, step) for step in steps)


def read_checkpoint(files: AttemptFiles, step: int) -> Checkpoint:
    """The checkpoint of ``step`` with its evidence; what cannot be read is said in ``problem``."""
    path = files.checkpoint(step) / EVIDENCE
    try:
        content = read_json(path)
    except ValueError as error:
        return Checkpoint(step=step, problem=f"{path} is not readable: {error}")
    if content is None:
        return Checkpoint(step=step)
    try:
        return Checkpoint(step=step, finite=_finite(content), metrics=_metrics(content))
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError) as error:
        return Checkpoint(step=step, problem=f"{path} is no evidence: {error!r}")


def _finite(content: Mapping[str, Any]) -> bool:
    if not isinstance(content["finite"], bool):
        raise ValueError(f"`finite` is {content['finite']!r}, not true or false")
    return content["finite"]


def _metrics(content: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): _number(value) for name, value in content.get("metrics", {}).items()}


def _number(value: object) -> float:
    if isinstance(value, str):
        return _NONFINITE[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is no number")
    return float(value)
