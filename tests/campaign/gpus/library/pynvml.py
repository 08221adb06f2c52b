"""Stands in for pynvml where PYTHONPATH names this folder: plays the script that FAKE_NVML names.

The script: {"errors": {function: code}, "hang": function, "noise": text, "gpus": [{"uuid", "name",
"total", "used", "reserved", "compute": [[pid, bytes]], "graphics": …, "mps": …, "recovery": code,
"errors": {function: code}, "slices": [GPUs, or null for an empty slot]}]}. A GPU with "slices" is in
MIG mode. "old" lists functions that the driver does not have.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_FUNCTION_NOT_FOUND = 13
NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25
nvmlMemory_v2 = 0x02000028  # noqa: N816 - the library's name

_TEXTS = {
    3: "Not Supported",
    6: "Not Found",
    9: "Driver Not Loaded",
    12: "NVML Shared Library Not Found",
    13: "Function Not Found",
    15: "GPU is lost",
    999: "Unknown Error",
}
_SCRIPT = json.loads(Path(os.environ["FAKE_NVML"]).read_text())


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return _TEXTS[self.value]


def _scripted(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The answer, unless the script wants this function to fail or hang, here or for this GPU."""
    name = answer.__name__

    def call(*arguments: Any) -> Any:
        if _SCRIPT.get("hang") == name:
            threading.Event().wait()
        if name in _SCRIPT.get("old", ()):
            raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
        handle = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
        for errors in (_SCRIPT.get("errors", {}), handle.get("errors", {})):
            if name in errors:
                raise NVMLError(errors[name])
        return answer(*arguments)

    return call


@_scripted
def nvmlInit() -> None:
    if noise := _SCRIPT.get("noise"):
        print(noise)


@_scripted
def nvmlSystemGetDriverVersion() -> str:
    return "580.1"


@_scripted
def nvmlDeviceGetCount() -> int:
    return len(_SCRIPT["gpus"])


@_scripted
def nvmlDeviceGetHandleByIndex(index: int) -> dict[str, Any]:
    gpu: dict[str, Any] = _SCRIPT["gpus"][index]
    if "nvmlDeviceGetHandleByIndex" in gpu.get("errors", {}):
        raise NVMLError(gpu["errors"]["nvmlDeviceGetHandleByIndex"])
    return gpu


@_scripted
def nvmlDeviceGetUUID(gpu: dict[str, Any]) -> str:
    return gpu["uuid"]


@_scripted
def nvmlDeviceGetName(gpu: dict[str, Any]) -> str:
    return gpu.get("name", "NVIDIA Test")


@_scripted
def nvmlDeviceGetMemoryInfo(gpu: dict[str, Any], version: int | None = None) -> SimpleNamespace:
    if version is not None and "nvmlDeviceGetMemoryInfo_v2" in _SCRIPT.get("old", ()):
        raise NVMLError(NVML_ERROR_FUNCTION_NOT_FOUND)
    reserved = 0 if version is not None else gpu.get("reserved", 0)
    return SimpleNamespace(total=gpu["total"], used=gpu["used"] + reserved)


@_scripted
def nvmlDeviceGetMigMode(gpu: dict[str, Any]) -> list[int]:
    if "slices" not in gpu:
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return [1, 1]


@_scripted
def nvmlDeviceGetMaxMigDeviceCount(gpu: dict[str, Any]) -> int:
    return len(gpu["slices"])


@_scripted
def nvmlDeviceGetMigDeviceHandleByIndex(gpu: dict[str, Any], slot: int) -> dict[str, Any]:
    part: dict[str, Any] | None = gpu["slices"][slot]
    if part is None:
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return part


@_scripted
def nvmlDeviceGetFieldValues(gpu: dict[str, Any], fields: list[int]) -> list[SimpleNamespace]:
    value = SimpleNamespace(uiVal=gpu.get("recovery", 0))
    return [SimpleNamespace(nvmlReturn=0, value=value) for _ in fields]


def _processes(gpu: dict[str, Any], kind: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in gpu.get(kind, ())]


@_scripted
def nvmlDeviceGetComputeRunningProcesses_v3(gpu: dict[str, Any]) -> list[SimpleNamespace]:
    return _processes(gpu, "compute")


@_scripted
def nvmlDeviceGetComputeRunningProcesses_v2(gpu: dict[str, Any]) -> list[SimpleNamespace]:
    return _processes(gpu, "compute")


@_scripted
def nvmlDeviceGetGraphicsRunningProcesses_v3(gpu: dict[str, Any]) -> list[SimpleNamespace]:
    return _processes(gpu, "graphics")


@_scripted
def nvmlDeviceGetGraphicsRunningProcesses_v2(gpu: dict[str, Any]) -> list[SimpleNamespace]:
    return _processes(gpu, "graphics")


@_scripted
def nvmlDeviceGetMPSComputeRunningProcesses_v3(gpu: dict[str, Any]) -> list[SimpleNamespace]:
    return _processes(gpu, "mps")


@_scripted
def nvmlDeviceGetMPSComputeRunningProcesses_v2(gpu: dict[str, Any]) -> list[SimpleNamespace]:
    return _processes(gpu, "mps")
