"""How long a run still takes, and its metrics over all attempts. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

HIDDEN_BEFORE = 50
"""Steps of an attempt before which a guess would be noise."""

Value = float | str
"""A metric's value; NaN and infinities are the strings of the metric lines."""


@dataclass(frozen=True, kw_only=True)
class Eta:
    """Seconds that a run still takes: ``low`` at the pace of its steps, ``high`` at the pace that it
    really had, evaluations and checkpoints included."""

    low: float
    high: float


class MetricCell(TypedDict):
    """The newest value of a metric and its lowest finite one, with their steps. Where the training has phases,
    the lowest is of the phase of the newest.

    A plain dict: there are many of them where there are many runs.
    """

    latest: Value
    latest_step: int
    best: Value | None
    best_step: int | None


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One attempt's part of a run: its progress.json, and the step at which it was left (None: never)."""

    progress: Mapping[str, Any]
    left_at: int | None = None


def eta_of(
    progress: Mapping[str, Any], *, total: int | None, first_step: int, since: float
) -> Eta | None:
    """The range for an attempt that began at ``first_step`` at time ``since`` (unix seconds).

    None while it cannot be known: no total, no pace, fewer than 50 steps.
    """
    step, pace = progress.get("step"), progress.get("steps_per_s")
    if total is None or not pace or step is None or step - first_step < HIDDEN_BEFORE:
        return None
    elapsed = float(progress["t"]) - since
    left = max(0, total - step)
    times = (left / pace, left * elapsed / (step - first_step))
    return Eta(low=min(times), high=max(times))


def merged_metrics(legs: Sequence[Leg]) -> dict[str, MetricCell]:
    """Each metric over the line of attempts, oldest first: what a rollback left behind is not on it.

    Of an attempt that was left, only a best value up to that step counts, and none where the next one
    has come to another phase; the newest value is that of the newest attempt that has one.
    """
    cells: dict[str, MetricCell] = {}
    before: Leg | None = None
    for leg in legs:
        best = leg.progress.get("best", {})
        same_phase = before is None or continues(leg, before)
        for name, latest in leg.progress.get("latest", {}).items():
            value, step = _lowest(
                best.get(name), leg.left_at, cells.get(name) if same_phase else None
            )
            cells[name] = {
                "latest": latest["value"],
                "latest_step": latest["step"],
                "best": value,
                "best_step": step,
            }
        before = leg if leg.progress.get("latest") else before
    return cells


def continues(leg: Leg, before: Leg) -> bool:
    """Is the attempt still in the phase of training in which the one before it was left?"""
    now, then = leg.progress.get("phase") or {}, before.progress.get("phase") or {}
    return now.get("since") is None and now.get("name") == then.get("name")


def _lowest(
    best: Mapping[str, Any] | None, left_at: int | None, before: MetricCell | None
) -> tuple[Value | None, int | None]:
    """The lower of an attempt's best value, if it lies on the line, and the best before it."""
    if best is not None and left_at is not None and best["step"] > left_at:
        best = None
    if before is None or before["best"] is None:
        return (None, None) if best is None else (best["value"], best["step"])
    if best is None or float(before["best"]) <= float(best["value"]):
        return before["best"], before["best_step"]
    return best["value"], best["step"]
