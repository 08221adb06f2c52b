"""Where a run that is done could go on, and what to say where it cannot. Pure.

`decide.resume_plan` alone says what is allowed; here it is asked beforehand, so that no hint leads nowhere.
"""

from __future__ import annotations

from campaign.decide import resume_plan
from campaign.records import CheckpointStatus, Run
from campaign.starts import Ready, lineage_checkpoints
from campaign.state import State

ORIGINS = ("certified", "latest", "scratch")
"""What ``resume --from`` takes beside a step; the most careful first."""

_MOST_STEPS = 8


def origins(state: State, run: Run) -> tuple[str, ...]:
    """Those of ORIGINS from which ``resume`` would go on now; none while the run is not done."""
    if run.status.status != "done":
        return ()
    return tuple(origin for origin in ORIGINS if isinstance(resume_plan(state, run, origin), Ready))


def instead(state: State, run: Run) -> str:
    """Lines for a run that found no checkpoint of the kind asked for: the steps that would do, and the
    commands that would."""
    name = "/".join(run.id)
    usable = (CheckpointStatus.COMPLETE, CheckpointStatus.CERTIFIED)
    found = [c for c in lineage_checkpoints(state, run.id) if c.status in usable]
    steps = [f"{c.step} ({c.status.value})" for c in sorted(found, key=lambda c: c.step)]
    more = [f"{len(steps) - _MOST_STEPS} older"] if len(steps) > _MOST_STEPS else []
    would_do = ", ".join([*more, *steps[-_MOST_STEPS:]]) or "none"
    commands = [f"  campaign resume {name} --from {origin}" for origin in origins(state, run)]
    return "\n".join([f"  steps that would do: {would_do}", *commands])
