"""Is there an NVIDIA GPU for the tests that are marked `gpu`? Asked of NVML, so that nobody loads torch for it."""

from __future__ import annotations

from functools import cache

import pynvml


@cache
def missing_gpu() -> str | None:
    """Why a test cannot have one here; None where there is one, and where the driver's answer says neither:
    then the test runs, and fails with what is wrong.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        none = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        return f"needs an NVIDIA GPU: {error}" if error.value in none else None
    try:
        return None if pynvml.nvmlDeviceGetCount() else "needs an NVIDIA GPU: NVML counts none"
    finally:
        pynvml.nvmlShutdown()
