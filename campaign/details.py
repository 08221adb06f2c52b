"""Everything that is known of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.latency import KillLatency, kill_latency
from campaign.naming import RunName
from campaign.rows import AlertRow, AttemptRow, CheckpointRow, EventRow, RunRow
from campaign.views import Reader


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """``spec``: as submitted; ``run.changes`` came after it. ``latencies``: attempt -> how long its
    kill by a rule took."""

    run: RunRow
    spec: Mapping[str, Any]
    attempts: tuple[AttemptRow, ...]
    latencies: Mapping[int, KillLatency]
    checkpoints: tuple[CheckpointRow, ...]
    alerts: tuple[AlertRow, ...]
    events: tuple[EventRow, ...]


def details_of(reader: Reader, name: RunName) -> RunDetails:
    campaign, run = name
    attempts = reader.attempts(campaign, run)
    timed = {a.number: kill_latency(Path(a.directory)) for a in attempts}
    return RunDetails(
        run=next(row for row in reader.runs(campaign) if row.run == run),
        spec=reader.run_data(name)["spec"],
        attempts=tuple(attempts),
        latencies={n: latency for n, latency in timed.items() if latency is not None},
        checkpoints=tuple(reader.checkpoints(campaign, run)),
        alerts=tuple(reader.alerts(campaign, run)),
        events=tuple(reader.events(f"{campaign}/{run}")),
    )
