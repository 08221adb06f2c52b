"""Which checkpoints other runs wait for, so that retention leaves them. Pure.

A run that starts warm from a given step of another may wait long for a device while its source trains
on. Without a step it takes what the source has when that is done, and a done run deletes nothing.
"""

from __future__ import annotations

from campaign.decision import Decision, merged
from campaign.orders import KeepCheckpoints
from campaign.records import Attempt, RunId, Running, Stopping
from campaign.state import State
from specs.run import RunSpec


def wanted_steps(state: State) -> dict[RunId, tuple[int, ...]]:
    """Source -> the steps that runs which are not done begin from, ascending."""
    wanted: dict[RunId, set[int]] = {}
    for run in state.runs.values():
        warm = run.spec.start.warm_from if isinstance(run.spec, RunSpec) else None
        if warm is None or warm.step is None or run.status.status == "done":
            continue
        wanted.setdefault((warm.campaign or run.campaign, warm.run), set()).add(warm.step)
    return {source: tuple(sorted(steps)) for source, steps in wanted.items()}


def keep_for_dependents(state: State) -> Decision:
    """Tell the trainers of sources what is new of what they are to keep, once they run."""
    wanted = wanted_steps(state)
    return merged(
        _keep(attempt, steps)
        for attempt in state.attempts.values()
        if isinstance(attempt.status, (Running, Stopping))
        and (steps := wanted.get(attempt.run_id, ())) != attempt.kept
    )


def _keep(attempt: Attempt, steps: tuple[int, ...]) -> Decision:
    who = f"{attempt.campaign}/{attempt.run}"
    told = f"keeps step {', '.join(map(str, steps))}: other runs start from it" if steps else (
        "keeps no step for other runs any more"
    )  # fmt: skip
    return Decision(
        records=(attempt.model_copy(update={"kept": steps}),),
        orders=(KeepCheckpoints(attempt=attempt.id, steps=steps),),
        notes=(f"{who} {told}",),
    )
