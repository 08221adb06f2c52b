"""What NVML says of the GPUs of this host, as plain data in the shape of a `DeviceReport`.

Standard library and pynvml only: campaign/gpus/nvml.py runs this file in a child process, every few
seconds on every host, and the child must start in the time of a bare interpreter.
"""

from __future__ import annotations

import ctypes
import json
import pwd
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

LIBRARY = "libnvidia-ml.so.1"
DEFAULT_LIMIT = 60.0
"""Seconds after which the child ends itself, should nobody be left to do it."""

RECOVERY_FIELD = 230  # NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
RECOVERY_WORDS = {
    1: "a GPU reset",
    2: "a reboot",
    3: "a P2P drain",
    4: "a drain and a reset",
    5: "a recovery of its IMEX domain",
    6: "a bus reset",
    7: "a reboot of the system",
}
_LISTS = ("Compute", "Graphics", "MPSCompute")


def read(nvml: Any, host: str, *, load: Callable[[str], object] = ctypes.CDLL) -> Json:
    """The report of this host, from a module that speaks as pynvml does.

    No library is no GPU. What fails for all GPUs makes the report unknown; what fails for one GPU is
    that GPU's problem, and the others stay usable.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            return _without_library(load)
        return unknown(f"NVML does not start: {error}")
    try:
        return _inventory(nvml, host)
    except nvml.NVMLError as error:
        return unknown(f"NVML does not list its GPUs: {error}")


def unknown(problem: str) -> Json:
    return {"probe": "unknown", "devices": [], "problem": problem}


def _without_library(load: Callable[[str], object]) -> Json:
    """pynvml says "not found" of a library that is there and cannot be loaded, too: ask the loader."""
    try:
        load(LIBRARY)
    except OSError as error:
        if str(error).startswith(f"{LIBRARY}: cannot open shared object file"):
            return {"probe": "none", "devices": [], "problem": None}
        return unknown(f"the NVML library cannot be loaded: {error}")
    return unknown("the NVML library can be loaded, but pynvml does not find it")


def _inventory(nvml: Any, host: str) -> Json:
    devices: list[Json] = []
    problems: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            devices += _gpu(nvml, handle, host, index)
        except nvml.NVMLError as error:
            problems.append(f"GPU {index} does not tell its UUID, so it is not offered: {error}")
    return {
        "probe": "real",
        "devices": devices,
        "problem": "; ".join(problems) or None,
        "driver": nvml.nvmlSystemGetDriverVersion(),
    }


def _gpu(nvml: Any, handle: Any, host: str, index: int) -> list[Json]:
    """The GPU and, in MIG mode, its slices; raises NVMLError where it has no identity."""
    place = {"kind": "gpu", "host": host, "index": index}
    gpu = {"id": nvml.nvmlDeviceGetUUID(handle), **place}
    try:
        if not _in_mig_mode(nvml, handle):
            return [gpu | _facts(nvml, handle, f"GPU {index}") | _health(nvml, handle)]
        slices = [
            {"id": nvml.nvmlDeviceGetUUID(part), **place}
            | _facts(nvml, part, f"a slice of GPU {index}")
            | _health(nvml, handle)
            for part in _slices(nvml, handle)
        ]
    except nvml.NVMLError as error:
        return [gpu | {"name": f"GPU {index}", "problem": f"NVML: {error}"}]
    return [gpu | _mig_parent(nvml, handle, len(slices)), *slices]


def _mig_parent(nvml: Any, handle: Any, slices: int) -> Json:
    return {
        "name": nvml.nvmlDeviceGetName(handle),
        "problem": f"it is in MIG mode: only its {slices} slices can be used",
    }


def _in_mig_mode(nvml: Any, handle: Any) -> bool:
    mode = _optional(nvml, nvml.nvmlDeviceGetMigMode, handle)
    return mode is not None and mode[0] == 1


def _slices(nvml: Any, handle: Any) -> list[Any]:
    found = []
    for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot))
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_NOT_FOUND:  # an empty slot is not found
                raise
    return found


def _facts(nvml: Any, handle: Any, fallback: str) -> Json:
    """Name, memory in bytes and processes, or the problem that hides them."""
    try:
        total, used = _memory(nvml, handle)
        return {
            "name": nvml.nvmlDeviceGetName(handle),
            "memory_total": total,
            "memory_used": used,
            "processes": _processes(nvml, handle),
            "problem": None,
        }
    except nvml.NVMLError as error:
        return {"name": fallback, "problem": f"NVML: {error}"}


def _health(nvml: Any, handle: Any) -> Json:
    """The recovery that the driver asks for: until then the GPU takes no new work. We never reset."""
    values = _optional(nvml, nvml.nvmlDeviceGetFieldValues, handle, [RECOVERY_FIELD])
    if values is None or values[0].nvmlReturn != 0 or values[0].value.uiVal == 0:
        return {}
    action = values[0].value.uiVal
    word = RECOVERY_WORDS.get(action, f"recovery action {action}")
    return {"problem": f"the driver asks for {word} of this GPU"}


def _memory(nvml: Any, handle: Any) -> tuple[int | None, int | None]:
    """(total, used); version 2 does not count the driver's own reserve as used, version 1 does."""
    for arguments in ((handle, nvml.nvmlMemory_v2), (handle,)):
        info = _optional(nvml, nvml.nvmlDeviceGetMemoryInfo, *arguments)
        if info is not None:
            return int(info.total), int(info.used)
    return None, None


def _processes(nvml: Any, handle: Any) -> list[Json]:
    """Processes with compute, graphics or MPS contexts; one row a pid.

    The compute list must be there, since without it nobody could be seen.
    """
    memory: dict[int, int | None] = {}
    for kind in _LISTS:
        for process in _listed(nvml, handle, kind):
            known = memory.get(process.pid)
            used = process.usedGpuMemory
            memory[process.pid] = used if known is None else max(known, used or 0)
    return [{"pid": pid, "memory_bytes": memory[pid]} | owner(pid) for pid in sorted(memory)]


def _listed(nvml: Any, handle: Any, kind: str) -> list[Any]:
    for version in ("_v3", "_v2"):
        call = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses{version}")
        found = _optional(nvml, call, handle)
        if found is not None:
            return list(found)
    if kind == "Compute":
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
    return []


def _optional(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or None where this driver or this GPU does not have the call."""
    absent = (
        nvml.NVML_ERROR_NOT_SUPPORTED,
        nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    )
    try:
        return call(*arguments)
    except nvml.NVMLError as error:
        if error.value in absent:
            return None
        raise


def owner(pid: int, proc: Path = Path("/proc")) -> Json:
    """uid, user and name of a process; all None where /proc hides it (hidepid, another container)."""
    facts: Json = {"uid": None, "user": None, "name": None}
    try:
        lines = (proc / str(pid) / "status").read_text(errors="replace").splitlines()
    except OSError:  # gone, or not for us to see: the row without an owner says so
        return facts
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    facts["name"] = fields["Name"].strip()
    facts["uid"] = int(fields["Uid"].split()[0])
    try:
        facts["user"] = pwd.getpwuid(facts["uid"]).pw_name
    except KeyError:  # a uid without an account
        facts["user"] = None
    return facts


def main(arguments: Sequence[str]) -> int:
    """Print the report of this host as one line of JSON. Arguments: host, seconds to live."""
    host = arguments[0] if arguments else "localhost"
    limit = float(arguments[1]) if len(arguments) > 1 else DEFAULT_LIMIT
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        import pynvml
    except ImportError as error:
        report = unknown(f"the package nvidia-ml-py cannot be imported: {error}")
    else:
        report = read(pynvml, host)
    print(json.dumps(report), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
