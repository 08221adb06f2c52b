"""All records together, and the state after some of them changed. Immutable, no clock, no disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from campaign.gpus.etiquette import IDLE_LIMIT
from campaign.placement import Policy
from campaign.records import (
    Alert,
    AnyRecord,
    Attempt,
    AttemptId,
    Campaign,
    Checkpoint,
    HostRecord,
    HostSights,
    Progress,
    Quarantine,
    Run,
    RunId,
)


@dataclass(frozen=True, kw_only=True)
class State:
    campaigns: Mapping[str, Campaign] = field(default_factory=dict)
    runs: Mapping[RunId, Run] = field(default_factory=dict)
    attempts: Mapping[AttemptId, Attempt] = field(default_factory=dict)
    checkpoints: Mapping[tuple[str, str, int, int], Checkpoint] = field(default_factory=dict)
    hosts: Mapping[str, HostRecord] = field(default_factory=dict)
    quarantines: Mapping[str, Quarantine] = field(default_factory=dict)
    sights: Mapping[str, HostSights] = field(default_factory=dict)
    alerts: frozenset[tuple[str, str, int, str]] = frozenset()
    policy: Policy = field(default_factory=Policy)
    idle_limit: int = IDLE_LIMIT  # bytes that a GPU without processes may hold

    def apply(self, records: Iterable[AnyRecord]) -> State:
        """The state after these records took the place of their older selves."""
        changed: dict[str, dict[Any, Any]] = {}
        alerts = set()
        for record in records:
            match record:
                case Campaign() | HostRecord():
                    key: Any = record.name
                case HostSights():
                    key = record.host
                case Quarantine():
                    key = record.device
                case Alert():
                    alerts.add(record.id)
                    continue
                case Progress():
                    continue
                case _:
                    key = record.id
            changed.setdefault(_FIELDS[type(record)], {})[key] = record
        merged: dict[str, Any] = {
            name: {**getattr(self, name), **new} for name, new in changed.items()
        }
        if alerts:
            merged["alerts"] = self.alerts | alerts
        return replace(self, **merged)

    # one-line questions, so that no second copy of a fact is kept

    def attempts_of(self, run: RunId) -> Iterator[Attempt]:
        """Attempts of a run, oldest first."""
        for number in range(1, self.runs[run].attempts + 1):
            if (attempt := self.attempts.get((*run, number))) is not None:
                yield attempt

    def checkpoints_of(self, run: RunId) -> Iterator[Checkpoint]:
        return (c for c in self.checkpoints.values() if (c.campaign, c.run) == run)

    def live_attempts(self) -> Iterator[Attempt]:
        """Attempts that a host still has something to say about."""
        return (
            a
            for a in self.attempts.values()
            if a.status.status != "done" or a.leased or not a.watch_closed
        )

    def leases(self) -> dict[str, Attempt]:
        return {d: a for a in self.attempts.values() if a.leased for d in a.devices}


_FIELDS: Mapping[type, str] = {
    Campaign: "campaigns",
    Run: "runs",
    Attempt: "attempts",
    Checkpoint: "checkpoints",
    HostRecord: "hosts",
    HostSights: "sights",
    Quarantine: "quarantines",
}
