"""How a training failed: the class that the controller decides by, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from specs.files import BadCheckpoint
from trainers.protocol import NonFinite

BAD_CHECKPOINT_EXIT = 13

_GPU_FAULT = ("CUDA error", "CUDNN_STATUS", "cuBLAS", "CUBLAS_STATUS", "NCCL error")
_NO_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "Cannot allocate memory")


class CouldNotStart(Exception):
    """Something that training needs is not there; the message says what and where."""


class GpuFault(Exception):
    """The devices that torch sees are not those of the lease."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    failure_class: str
    message: str
    exit_code: int = 1


def classify(error: Exception) -> Failure:
    """The failure that an exception stands for; whatever is not known otherwise is a bad exit."""
    message = str(error) or type(error).__name__
    if isinstance(error, BadCheckpoint):
        return Failure(
            failure_class="bad_checkpoint", message=message, exit_code=BAD_CHECKPOINT_EXIT
        )
    return Failure(failure_class=_class_of(error), message=message)


def _class_of(error: Exception) -> str:
    if isinstance(error, NonFinite):
        return "non_finite"
    if isinstance(error, torch.OutOfMemoryError):
        return "cuda_oom"
    if isinstance(error, MemoryError) or _says(error, _NO_MEMORY):
        return "host_oom"
    if isinstance(error, GpuFault) or _says(error, _GPU_FAULT):
        return "gpu_fault"
    return "could_not_start" if isinstance(error, CouldNotStart) else "bad_exit"


def _says(error: Exception, words: tuple[str, ...]) -> bool:
    """torch states these as RuntimeError, told apart by their text alone."""
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error) for word in words)
