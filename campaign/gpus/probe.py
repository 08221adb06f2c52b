"""What is known of the devices of a host, and the port through which it is asked."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """Base of the records that cross a pipe or Ray: frozen, complete, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceKind(StrEnum):
    GPU = "gpu"
    CPU = "cpu"


class ProbeKind(StrEnum):
    REAL = "real"  # NVML answered
    NONE = "none"  # no NVML library: this host has no GPU
    FAKE = "fake"  # scripted; every screen says SIMULATED
    UNKNOWN = "unknown"  # NVML failed or hung: never read as free, never as "no GPU"


class DeviceProcess(Facts):
    """A process that NVML lists on a GPU. ``uid`` is None where /proc does not show it."""

    pid: int
    uid: int | None = None
    user: str | None = None
    name: str | None = None
    memory_bytes: int | None = None


class Device(Facts):
    """``id``: the full UUID of a GPU or MIG slice, or ``cpu:<host>:<slot>``. Memory in bytes."""

    id: str
    kind: DeviceKind
    host: str
    index: int
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    processes: tuple[DeviceProcess, ...] = ()
    problem: str | None = None


class DeviceReport(Facts):
    """One answer of a probe."""

    probe: ProbeKind
    devices: tuple[Device, ...]
    problem: str | None = None
    driver: str | None = None


class GpuProbe(Protocol):
    def report(self) -> DeviceReport:
        """The GPUs of this host. Never raises, never hangs: trouble is a report that says so."""
        ...
