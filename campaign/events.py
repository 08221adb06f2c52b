"""Facts that come in. Each is one thing that happened; none says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from campaign.hosts.port import HostFacts, Observation
from campaign.records import AttemptId, Campaign, RunId
from specs.run import RunSpec


@dataclass(frozen=True, kw_only=True)
class Submitted:
    campaign: Campaign
    runs: Mapping[str, RunSpec]


@dataclass(frozen=True, kw_only=True)
class RequestRefused:
    """A request that cannot be read. ``campaign``: the one that it names, or empty."""

    request: int
    kind: str
    campaign: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StopRequested:
    """The user cancels runs (``kill``: without a chance to save first)."""

    runs: tuple[RunId, ...]
    kill: bool
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ResumeRequested:
    """``origin``: ``latest``, ``certified``, ``scratch`` or a step."""

    run: RunId
    origin: str | int


@dataclass(frozen=True, kw_only=True)
class QuarantineLifted:
    device: str


@dataclass(frozen=True, kw_only=True)
class HostSeen:
    facts: HostFacts


@dataclass(frozen=True, kw_only=True)
class HostLost:
    host: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Observed:
    attempt: AttemptId
    observation: Observation


@dataclass(frozen=True, kw_only=True)
class StartFailed:
    """The host could not begin: no shim of this attempt exists."""

    attempt: AttemptId
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReapFailed:
    """What a dead shim left could not be ended, or not be recorded."""

    attempt: AttemptId
    reason: str


@dataclass(frozen=True, kw_only=True)
class ProvedUnstarted:
    """No shim of this attempt runs or ever will."""

    attempt: AttemptId


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Time went by."""


Event = (
    Submitted
    | RequestRefused
    | StopRequested
    | ResumeRequested
    | QuarantineLifted
    | HostSeen
    | HostLost
    | Observed
    | StartFailed
    | ReapFailed
    | ProvedUnstarted
    | Tick
)
