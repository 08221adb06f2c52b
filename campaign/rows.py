"""What the reading verbs show, one record a row. Names are those of the JSON output (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from campaign.pace import Eta, MetricCell

NOT_TAKEN = "submitted; waits for a controller to take it"
"""Why a run waits that no controller has seen."""


@dataclass(frozen=True, kw_only=True)
class CampaignRow:
    """``waiting``: no controller has taken it yet."""

    name: str
    profile: str | None
    submitted_at: float
    git_commit: str | None
    git_dirty: bool
    waiting: bool


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """``attempt``: how many there were. ``metric``: the one to look at first.

    ``phase``: of its training, where that has any; the best values are then of this phase.
    ``reason``: why it waits, what stops it, or why it ended. ``changes``: what rollbacks have set.
    """

    campaign: str
    run: str
    status: str
    result: str | None
    failure_class: str | None
    rule: str | None
    attempt: int
    step: int | None
    steps: int | None
    phase: str | None
    metric: str
    metrics: Mapping[str, MetricCell]
    device: str | None
    reason: str
    eta: Eta | None
    exit_code: int | None
    changes: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.campaign}/{self.run}"


@dataclass(frozen=True, kw_only=True)
class AttemptRow:
    """One process life of a run. Times in unix seconds."""

    campaign: str
    run: str
    number: int
    status: str
    result: str | None
    failure_class: str | None
    rule: str | None
    reason: str
    exit_code: int | None
    host: str
    devices: tuple[str, ...]
    start: Mapping[str, Any]
    parent: int | None
    created_at: float
    running_since: float | None
    ended_at: float | None
    verdict: Mapping[str, Any] | None
    identity: Mapping[str, Any] | None
    directory: str
    leased: bool
    progress: Mapping[str, Any]

    @property
    def first_step(self) -> int:
        """The step after which it began."""
        return int(self.start.get("step") or 0) if self.start.get("kind") == "resume" else 0

    @property
    def step(self) -> int | None:
        step: int | None = self.progress.get("step")
        return step

    @property
    def phase(self) -> str | None:
        """The phase of the training that its newest line belongs to."""
        phase: str | None = (self.progress.get("phase") or {}).get("name")
        return phase


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """``reason``: why it has its status, or what it lacks to be certified."""

    campaign: str
    run: str
    attempt: int
    step: int
    status: str
    reason: str
    path: str
    host: str
    completed_at: float
    evidence: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class AlertRow:
    """``action``: alert, checkpoint, kill or rollback."""

    id: int
    campaign: str
    run: str
    attempt: int
    at: float
    rule: str
    action: str
    reason: str
    step: int | None
    metric: str | None
    value: float | str | None


@dataclass(frozen=True, kw_only=True)
class EventRow:
    """One line of the controller's event log."""

    id: int
    at: float
    kind: str
    note: str


def as_json(row: object) -> object:
    """What ``json.dumps(..., default=as_json)`` makes of a row: all its fields under their names."""
    if is_dataclass(row):
        return vars(row)
    raise TypeError(f"{type(row).__name__} is no row")
