"""The device of a trainer, and how torch is set for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch

from trainers.failure import CouldNotStart, GpuFault


def choose(
    wanted: str, devices: Sequence[str], *, count: Callable[[], int] = torch.cuda.device_count
) -> torch.device:
    """``auto`` is the leased GPU, or the CPU where none is leased.

    CUDA drops every device after the first bad name without a word, and torch then trains on the CPU:
    so the ``count`` that torch sees is compared with the lease. Raises GpuFault, CouldNotStart.
    """
    gpus = [device for device in devices if not device.startswith("cpu:")]
    if wanted == "cpu":
        return torch.device("cpu")
    if not gpus:
        if wanted == "cuda":
            raise CouldNotStart("trainer.device is cuda, but no GPU is leased: see resources.gpus")
        return torch.device("cpu")
    seen = count()
    if seen != len(gpus):
        raise GpuFault(
            f"torch sees {seen} GPU(s), leased are {len(gpus)}: {', '.join(gpus)} "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'is not set')}, "
            f"torch {torch.__version__} built for CUDA {torch.version.cuda})"
        )
    return torch.device("cuda", 0)


def prepare(threads: int) -> None:
    """One place for torch's global switches: threads of the lease, deterministic algorithms.

    Where an operation has no deterministic form torch warns, and the log has it.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # the tokenizers library
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # filling new memory with NaN costs time and is for finding bugs, not for repeating numbers
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def name_of(device: torch.device) -> str:
    """The model of a GPU, or ``cpu``: numbers are bit-equal on the same kind only."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
