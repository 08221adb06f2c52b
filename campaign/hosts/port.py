"""The port to a host: the only way in which anything is started, stopped or seen there.

Two implementations, one contract suite (tests/contracts): hosts/local.py works in this process,
hosts/supervisor_ray.py is a Ray actor around it. Every record is JSON, so that it crosses a pipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from campaign.gpus.probe import DeviceReport, Facts


class Launch(Facts):
    """Everything that a host needs to start one attempt; `start` of the same launch twice starts once."""

    directory: str
    campaign: str
    run: str
    attempt: int
    cookie: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    devices: tuple[str, ...]
    spec: Mapping[str, Any]  # the content of spec.json
    grace: float
    timeout: float | None = None


class OrderAction(StrEnum):
    STOP = "stop"
    CHECKPOINT = "checkpoint"


class Order(Facts):
    """An order for one attempt, written as order-<n>.json. ``key`` makes it idempotent."""

    key: str
    action: OrderAction
    by: str  # user, watcher, controller
    reason: str
    rule: str | None = None
    grace: float | None = None
    evidence: Mapping[str, Any] = {}


class Liveness(StrEnum):
    ALIVE = "alive"
    DEAD = "dead"
    UNBORN = "unborn"  # no record of it yet


class Cursor(Facts):
    """How far, in bytes of complete lines, the files of an attempt have been taken in."""

    events: int = 0
    watch: int = 0


class CheckpointFacts(Facts):
    step: int
    path: str
    manifest_sha256: str
    completed_at: float
    evidence: Mapping[str, Any] | None = None


class Observation(Facts):
    """What is true of one attempt on its host now: files and processes, no opinion."""

    directory: str
    launched: bool  # launch.json is there
    shim: Liveness
    trainer: Liveness
    locks_held: bool  # some process holds a device lock of the attempt
    same_boot: bool  # pid.json was written since the last boot (True where there is none)
    pid: Mapping[str, Any] | None = None
    exit: Mapping[str, Any] | None = None
    kill: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None
    events: tuple[Mapping[str, Any], ...] = ()
    watch: tuple[Mapping[str, Any], ...] = ()
    checkpoints: tuple[CheckpointFacts, ...] = ()
    cursor: Cursor = Cursor()


class HostFacts(Facts):
    host: str
    boot_id: str
    address: str
    devices: DeviceReport
    problems: tuple[str, ...] = ()
    excluded: Mapping[str, str] = {}  # device id -> the configuration file that excludes it
    cookies: Mapping[str, tuple[int, ...]] = {}  # attempt cookie -> pids that carry it
    uid: int = 0


class Host(Protocol):
    def describe(self) -> HostFacts:
        """Devices and health of the host, asked afresh."""
        ...

    def start(self, launch: Launch) -> None:
        """Write the attempt's files and start its shim; returns once the shim is on its way."""
        ...

    def order(self, directory: str, order: Order) -> None:
        """Write the order durably and wake whoever carries it out. The same key twice is one order."""
        ...

    def observe(self, cursors: Mapping[str, Cursor]) -> Sequence[Observation]:
        """The state of each attempt directory, with the lines after its cursor."""
        ...

    def reap(self, directory: str, order: Order) -> None:
        """Where the shim is dead: run the kill ladder over what carries the attempt's cookie."""
        ...

    def prove_unstarted(self, directory: str) -> bool:
        """True once it is certain that no shim of this launch runs or will ever run."""
        ...
