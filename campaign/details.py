"""Everything that is known of one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.errors import NotFound
from campaign.latency import KillLatency, kill_latency
from campaign.naming import RunName
from campaign.rows import AlertRow, AttemptRow, CheckpointRow, EventRow, RunRow
from campaign.views import Reader
from specs.files import AttemptFiles


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


def log_of(reader: Reader, name: RunName, attempt: int | None) -> Path:
    """The log of an attempt, by default the newest. Raises NotFound."""
    found = {a.number: a for a in reader.attempts(*name)}
    run = "/".join(name)
    if not found:
        raise NotFound(f"{run} has no attempt yet, so there is no log")
    number = max(found) if attempt is None else attempt
    if number not in found:
        raise NotFound(f"{run} has attempts 1 to {max(found)}, not {number}")
    log = AttemptFiles(root=Path(found[number].directory)).log
    if not log.exists():
        raise NotFound(f"{log} is not on this machine; the attempt ran on {found[number].host}")
    return log
