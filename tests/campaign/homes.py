"""Homes with a store in them, for tests of what is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaign.home import Home
from campaign.records import Progress
from campaign.store import Store
from tests.campaign.worlds import World


def fill(home: Home, world: World, **metrics: Mapping[str, float]) -> None:
    """Put the world into the home's store; ``metrics``: run -> what its newest attempt wrote last."""
    home.create()
    store = Store(home.store)
    state = world.state
    progresses = [
        Progress(
            campaign="c", run=run, number=world.run(run).attempts, progress=progress_of(20, values)
        )
        for run, values in metrics.items()
    ]
    records = (
        *state.campaigns.values(),
        *state.runs.values(),
        *state.attempts.values(),
        *state.checkpoints.values(),
        *state.hosts.values(),
        *state.quarantines.values(),
        *progresses,
    )
    store.commit(records, world.notes, world.now, kind="test")
    store.close()


def progress_of(step: int, values: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """progress.json after one line."""
    cells = {name: {"step": step, "value": value} for name, value in values.items()}
    return {
        "t": 200.0,
        "step": step,
        "latest": cells,
        "best": cells,
        "steps_per_s": None,
        "points": 1,
        "checkpoints": {},
        **more,
    }
