"""What the shells are told to do. Carrying out the same order twice does no harm."""

from __future__ import annotations

from dataclasses import dataclass

from campaign.hosts.port import Order
from campaign.records import AttemptId


@dataclass(frozen=True, kw_only=True)
class StartAttempt:
    """Lease the devices at Ray and start the shim."""

    attempt: AttemptId


@dataclass(frozen=True, kw_only=True)
class StopAttempt:
    attempt: AttemptId
    order: Order


@dataclass(frozen=True, kw_only=True)
class ReapAttempt:
    """The shim is dead: the host runs the kill ladder over what is left."""

    attempt: AttemptId
    order: Order


@dataclass(frozen=True, kw_only=True)
class KeepCheckpoints:
    """The trainer keeps these steps, whatever its retention would say; the list replaces the last."""

    attempt: AttemptId
    steps: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ProveUnstarted:
    attempt: AttemptId


@dataclass(frozen=True, kw_only=True)
class FinishAttempt:
    """Nothing of it is left: give its lease back at Ray, stop observing it."""

    attempt: AttemptId


@dataclass(frozen=True, kw_only=True)
class ReleaseLease:
    """Its devices are free: give the lease back, go on observing."""

    attempt: AttemptId


AnyOrder = (
    StartAttempt
    | StopAttempt
    | ReapAttempt
    | KeepCheckpoints
    | ProveUnstarted
    | ReleaseLease
    | FinishAttempt
)
