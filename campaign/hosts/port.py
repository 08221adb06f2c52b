"""The ports to a host: the only way in which anything is started, stopped, seen or read there.

`Host`, one contract suite (tests/contracts): hosts/local.py works in this process,
hosts/supervisor_ray.py is a Ray actor around it, hosts/mirror_host.py wraps either where the host does
not share the home. `Files` is for that case alone. Every record is JSON, so that it crosses a pipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from pydantic import ConfigDict

from campaign.code import Code
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
    code: Code | None = None  # None: of a campaign that recorded none
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
    misconfigured: tuple[str, ...] = ()  # why the files cannot be read; then nothing starts here
    cookies: Mapping[str, tuple[int, ...]] = {}  # attempt cookie -> pids that carry it
    uid: int = 0
    shares_home: bool = True  # False: its attempts lie in a root of its own and are mirrored


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
        """Where the shim is dead: run the kill ladder over what carries the attempt's cookie.

        Raises what kept it from coming to an end; it may then be tried again.
        """
        ...

    def keep(self, directory: str, steps: Sequence[int]) -> None:
        """Checkpoints that the attempt's retention leaves alone; the list replaces the last one."""
        ...

    def prove_unstarted(self, directory: str) -> bool:
        """True once it is certain that no shim of this launch runs or will ever run."""
        ...


# ---------------------------------------------------------------- a host that does not share the home


class Kept(Facts):
    """What the home has of a file of an attempt: ``size`` in bytes; ``mark``: sha256 of the last
    ANCHOR bytes of a file that grows, of all of a file that is replaced.
    """

    name: str
    size: int
    mark: str


class Asked(Facts):
    """``directory``: on the host."""

    directory: str
    kept: tuple[Kept, ...] = ()


class Part(Facts):
    """``offset`` None: the whole of a file that is replaced; 0: the first part of one that began anew."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    name: str
    offset: int | None
    data: bytes


class Grown(Facts):
    """Parts in the order in which they are to be written. ``complete``: with them nothing that was
    there when the host looked is missing.
    """

    directory: str
    parts: tuple[Part, ...]
    complete: bool


class Files(Protocol):
    """Files of a host. Paths are its own; all but ``glimpse`` are confined to its own root."""

    def glimpse(self, path: str) -> str | None:
        """The text of a small file, as far as the host sees the directories of the home; else None."""
        ...

    def root(self, home_id: str) -> str:
        """Where the host keeps the attempts of a home that it does not share; made if missing."""
        ...

    def grown(self, asked: Sequence[Asked]) -> Sequence[Grown]:
        """What the home does not have yet; a bounded number of bytes in all."""
        ...

    def read(self, path: str, offset: int, size: int) -> bytes:
        """At most ``size`` bytes. Raises OSError."""
        ...

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Write bytes where they belong, making directories. Raises OSError."""
        ...

    def settle(self, incoming: str, checkpoint: str, manifest_sha256: str) -> None:
        """Make what was written the checkpoint, once every hash fits. Raises BadCheckpoint."""
        ...
