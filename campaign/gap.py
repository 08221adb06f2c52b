"""How much of the gap between naive and joint learning runs have closed: continual learning side by side.

Read from the newest metrics of finished protocols (docs/hope.md, continual learning). Errors: lower is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from campaign.errors import WrongState
from campaign.rows import RunRow
from trainers.hope.continual.metrics import gap_closed

PREFIX = "continual/"
ERROR = "error/"
WHOLE = ("avg_error", "plasticity", "forgetting")


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """One run in one mode (memories write: on, frozen: off). ``gap``: percent closed, 0 at the lower bound.

    Plasticity and forgetting are None of a joint run. By task: the last errors, and the percent closed of each, None
    where the two bounds are equal.
    """

    run: str
    bound: Literal["", "lower", "upper"]
    mode: str
    avg_error: float
    plasticity: float | None
    forgetting: float | None
    gap: float
    error_by_task: Mapping[str, float] = field(default_factory=dict)
    gap_by_task: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """What a finished protocol says in one mode."""

    whole: Mapping[str, float]
    by_task: Mapping[str, float]


def gaps(runs: Sequence[RunRow], *, lower: RunRow, upper: RunRow) -> tuple[GapRow, ...]:
    """The lower bound, ``runs``, the upper bound, in each mode that all of them were judged in.

    Raises WrongState for a run that has not ended its protocol, for runs that were judged in no common mode or on
    different tasks, and for bounds that leave no gap.
    """
    chosen = [run for run in runs if run.name not in (lower.name, upper.name)]
    several = [lower, *chosen, upper]
    ended = {run.name: _ended(run) for run in several}
    modes = [mode for mode in ("on", "off") if all(mode in of for of in ended.values())]
    if not modes:
        told = "; ".join(f"{name}: {', '.join(of)}" for name, of in ended.items())
        raise WrongState(f"they were judged in no common mode of eval_writes: {told}")
    rows = []
    for mode in modes:
        of = {name: found[mode] for name, found in ended.items()}
        _same_tasks(of, mode)
        low, high = of[lower.name], of[upper.name]
        for run in several:
            bound: Literal["", "lower", "upper"] = (
                "lower" if run is lower else "upper" if run is upper else ""
            )
            rows.append(_row(run.name, bound, mode, of[run.name], low, high))
    return tuple(rows)


def _ended(run: RunRow) -> dict[str, _Ended]:
    """By mode. A protocol says its average error once its last phase was judged."""
    found = {}
    for mode in ("on", "off"):
        start = f"{PREFIX}{mode}/"
        latest = {
            name.removeprefix(start): float(cell["latest"])
            for name, cell in run.metrics.items()
            if name.startswith(start)
        }
        if "avg_error" in latest:
            by_task = {n.removeprefix(ERROR): v for n, v in latest.items() if n.startswith(ERROR)}
            found[mode] = _Ended(
                whole={n: latest[n] for n in WHOLE if n in latest}, by_task=by_task
            )
    if not found:
        how = run.result or run.status
        raise WrongState(
            f"{run.name} ({how}) has no metric {PREFIX}on/avg_error or {PREFIX}off/avg_error: a run with "
            "`continual` has it once its last phase was judged"
        )
    return found


def _same_tasks(ended: Mapping[str, _Ended], mode: str) -> None:
    tasks = {name: tuple(sorted(of.by_task)) for name, of in ended.items()}
    if len(set(tasks.values())) > 1:
        told = "".join(f"\n  {name}: {', '.join(of)}" for name, of in tasks.items())
        raise WrongState(f"they were judged on different tasks (writes {mode}):{told}")


def _row(
    run: str,
    bound: Literal["", "lower", "upper"],
    mode: str,
    own: _Ended,
    low: _Ended,
    high: _Ended,
) -> GapRow:
    by_task = {
        task: None
        if low.by_task[task] == high.by_task[task]
        else gap_closed(low.by_task[task], error, high.by_task[task])
        for task, error in own.by_task.items()
    }
    try:
        gap = gap_closed(low.whole["avg_error"], own.whole["avg_error"], high.whole["avg_error"])
    except ValueError as error:
        raise WrongState(f"{error} (writes {mode})") from error
    return GapRow(
        run=run,
        bound=bound,
        mode=mode,
        avg_error=own.whole["avg_error"],
        plasticity=own.whole.get("plasticity"),
        forgetting=own.whole.get("forgetting"),
        gap=gap,
        error_by_task=own.by_task,
        gap_by_task=by_task,
    )
