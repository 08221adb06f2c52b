"""The commands that lead on from a run: only such as can work as things are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from campaign.api import Client
    from campaign.rows import RunRow

RESUMED = ("failed", "killed", "cancelled", "lost")
"""Results after which people want a run to go on."""


def after(here: Client, run: RunRow, *, log: bool = True) -> list[str]:
    """What can be done with a run now: its log if it has one, or (with ``log`` False) all about it; then
    stop it or go on with it.
    """
    if run.status != "done":
        first = f"campaign logs {run.name} -f" if log else f"campaign show {run.name}"
        return [first, f"campaign cancel {run.name}"]
    found = [f"campaign logs {run.name}"] if run.attempt else []
    if not log:
        found = [f"campaign show {run.name}"]
    if run.result in RESUMED:
        found += resumption(here, run.name)
    return found


def resumption(here: Client, run: str) -> list[str]:
    """How a run goes on, from the most careful place that there is; nothing while it is not done."""
    return [f"campaign resume {run} --from {origin}" for origin in here.origins(run)[:1]]
