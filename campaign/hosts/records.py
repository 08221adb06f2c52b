"""launch.json, pid.json and exit.json as the shim and whoever acts in its place use them.

Standard library only. docs/files.md shows each file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from campaign.hosts import identity
from campaign.hosts.identity import Identity
from specs.files import (
    ENV_CHECKPOINTS,
    ENV_COOKIE,
    ENV_METRICS,
    ENV_RESUME,
    SCHEMA,
    AttemptFiles,
    read_json,
    write_json,
)

EXITED = "exited"
COULD_NOT_START = "could_not_start"

_RECORD_RETRY = 1.0
_RECORD_TRIES = 3600


@dataclass(frozen=True, kw_only=True)
class LaunchRecord:
    """What the shim runs: everything it needs, so that it asks nobody. ``grace``, ``timeout``: seconds.

    ``locks``: device -> path of its lock. ``probe_argv``: prints a DeviceReport; empty: not checked.
    """

    campaign: str
    run: str
    attempt: int
    host: str
    cookie: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    devices: tuple[str, ...]
    locks: Mapping[str, str]
    socket: str
    grace: float
    timeout: float | None = None
    resume_from: str | None = None
    probe_argv: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **vars(self)}

    @property
    def gpus(self) -> tuple[str, ...]:
        return tuple(device for device in self.devices if not device.startswith("cpu:"))


def read_launch(files: AttemptFiles) -> LaunchRecord | None:
    """launch.json; None where there is none. Raises ValueError if it is of another schema."""
    value = read_json(files.launch)
    if value is None:
        return None
    if value.pop("schema", None) != SCHEMA:
        raise ValueError(f"{files.launch} has another schema than {SCHEMA}")
    for name in ("argv", "devices", "probe_argv"):
        value[name] = tuple(value[name])
    return LaunchRecord(**value)


def trainer_environment(launch: LaunchRecord, files: AttemptFiles) -> dict[str, str]:
    """The launcher's allow-list, where to write, and exactly the GPUs of the attempt."""
    environment = {
        **launch.env,
        ENV_COOKIE: launch.cookie,
        ENV_METRICS: str(files.metrics),
        ENV_CHECKPOINTS: str(files.checkpoints),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(launch.gpus),
    }
    if launch.resume_from is not None:
        environment[ENV_RESUME] = launch.resume_from
    return environment


@dataclass(frozen=True, kw_only=True)
class PidRecord:
    """Who runs: the shim first, then the trainer too.

    ``baseline``: bytes in use on each GPU before the start. ``not_reset``: what of an inherited
    priority could not be undone, and why.
    """

    attempt: int
    cookie: str
    shim: Identity
    locked: bool = False
    trainer: Identity | None = None
    started_at: float | None = None
    baseline: Mapping[str, int] = field(default_factory=dict)
    not_reset: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "attempt": self.attempt,
            "cookie": self.cookie,
            "boot_id": self.shim.boot_id,
            "shim": _process(self.shim),
            "locked": self.locked,
            "trainer": None if self.trainer is None else _process(self.trainer),
            "started_at": self.started_at,
            "baseline": dict(self.baseline),
            "not_reset": list(self.not_reset),
        }


def _process(of: Identity) -> dict[str, int]:
    return {"pid": of.pid, "start_ticks": of.start_ticks}


def pid_record(value: Mapping[str, Any] | None) -> PidRecord | None:
    """The record in pid.json; None where there is none."""
    if value is None:
        return None
    boot, cookie = value["boot_id"], value["cookie"]
    shim = identity.from_json(value["shim"], boot=boot, cookie=cookie)
    if shim is None:
        raise ValueError("pid.json names no shim")
    return PidRecord(
        attempt=int(value["attempt"]),
        cookie=cookie,
        shim=shim,
        locked=bool(value["locked"]),
        trainer=identity.from_json(value["trainer"], boot=boot, cookie=cookie),
        started_at=value["started_at"],
        baseline=value["baseline"],
        not_reset=tuple(value["not_reset"]),
    )


@dataclass(frozen=True, kw_only=True)
class ExitRecord:
    """How it ended. ``order``: the order that ended it; None if it ended by itself."""

    attempt: int
    cookie: str
    outcome: str
    written_by: str
    ended_at: float
    detail: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_at: float | None = None
    order: Mapping[str, Any] | None = None
    failure_class: str | None = None
    swept: tuple[int, ...] = ()
    max_rss_bytes: int | None = None
    gpu_release: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **vars(self), "swept": list(self.swept)}


def write_exit(files: AttemptFiles, record: ExitRecord) -> None:
    """Write exit.json. A full disk keeps it waiting for an hour, with the devices still held."""
    for left in reversed(range(_RECORD_TRIES)):
        try:
            write_json(files.exit, record.to_json())
            return
        except OSError as error:
            print(f"campaign: exit.json not written: {error}", file=sys.stderr, flush=True)
            if left == 0:
                raise
            time.sleep(_RECORD_RETRY)
