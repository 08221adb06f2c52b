"""What the GPUs of a training do, read with NVML. It only reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_MIB = float(2**20)

Note = Callable[[str], None]


class Gpus:
    """The GPUs of the lease, by full UUID; the n-th is ``system/gpu<n>_...``.

    No NVML library means no GPU metrics. Anything else that NVML refuses is said once through
    ``note``, and that metric is left out.
    """

    def __init__(self, uuids: tuple[str, ...], note: Note, *, nvml: Any = None) -> None:
        self._note = note
        self._nvml = nvml
        self._handles: dict[int, Any] = {}
        self._refused: set[tuple[int, str]] = set()
        if uuids and self._begin():
            for index, uuid in enumerate(uuids):
                self._ask(index, "handle", self._find, index, uuid)

    def sample(self) -> dict[str, float]:
        """Utilisation in percent, memory in use, watts, degrees Celsius."""
        metrics: dict[str, float] = {}
        for index, handle in self._handles.items():
            for name, read in _QUERIES.items():
                value = self._ask(index, name, read, self._nvml, handle)
                if value is not None:
                    metrics[f"system/gpu{index}_{name}"] = value
        return metrics

    def _begin(self) -> bool:
        if self._nvml is None:
            import pynvml

            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            if error.value != self._nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                self._note(f"no GPU metrics: NVML does not start: {error}")
            return False
        return True

    def _find(self, index: int, uuid: str) -> None:
        self._handles[index] = self._nvml.nvmlDeviceGetHandleByUUID(uuid)

    def _ask(self, index: int, name: str, question: Callable[..., Any], *given: Any) -> Any:
        if (index, name) in self._refused:
            return None
        try:
            return question(*given)
        except self._nvml.NVMLError as error:
            self._refused.add((index, name))
            self._note(f"no {name} of GPU {index}: NVML: {error}")
            return None


_QUERIES: Mapping[str, Callable[[Any, Any], float]] = {
    "util_percent": lambda nvml, h: float(nvml.nvmlDeviceGetUtilizationRates(h).gpu),
    "memory_mib": lambda nvml, h: nvml.nvmlDeviceGetMemoryInfo(h).used / _MIB,
    "power_w": lambda nvml, h: nvml.nvmlDeviceGetPowerUsage(h) / 1000.0,
    "temperature_c": lambda nvml, h: float(
        nvml.nvmlDeviceGetTemperature(h, nvml.NVML_TEMPERATURE_GPU)
    ),
}


def leased(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The full UUIDs in CUDA_VISIBLE_DEVICES; an index there says nothing about NVML's order."""
    words = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return tuple(w.strip() for w in words if w.strip().startswith(("GPU-", "MIG-")))
