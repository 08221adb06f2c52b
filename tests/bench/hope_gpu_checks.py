"""What of HOPE on a GPU is no time of a step: peak memory, synchronisations, the rate at which clips are made."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch

from specs.data_clips import PuckData
from specs.trainer_hope import HopeTrainer
from tests.bench.hope_models import BFLOAT16, Scale, problem, settings_of
from tests.support.peak_memory import PeakMemory
from trainers.data.clips import load
from trainers.hope.compute.step import Plain, losses_of

GIB = 1 << 30


def checkpointing(scale: Scale, device: torch.device, of: str) -> str:
    """At interval 0, where the graph through the memories is never cut. Parameters and clips are left out."""
    peaks = []
    for checkpoint in (False, True):
        more = {"model": {"checkpoint_blocks": checkpoint, "memories": {"detach_interval": 0}}}
        peaks.append(_peak(settings_of(scale, of, more), device))
    plain, recomputed = peaks
    return (
        f"{of}, interval 0, fp32: peak {plain / GIB:.2f} GiB, with block checkpointing "
        f"{recomputed / GIB:.2f} GiB: {recomputed / plain:.2f} of it"
    )


def _peak(settings: HopeTrainer, device: torch.device) -> int:
    """Bytes of a second step: the first leaves the libraries' workspaces behind, which are no part of it."""
    model, batch, draws = problem(settings, device)
    step = Plain(model, settings)
    if device.type != "cuda":
        with PeakMemory(held=[*model.parameters(), batch.features]) as memory:
            step(batch, draws)
        return memory.peak
    before = 0
    for _ in range(2):
        model.zero_grad(set_to_none=True)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(batch, draws)
    return torch.cuda.max_memory_allocated() - before


def synchronisations(scale: Scale, device: torch.device) -> str:
    settings = settings_of(scale, "hybrid", BFLOAT16)
    model, batch, draws = problem(settings, device)
    losses_of(model, settings, batch, draws)
    if device.type != "cuda":
        return "host synchronisations: known on a GPU alone"
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses_of(model, settings, batch, draws)
    except RuntimeError as error:
        return f"a forward pass waits for the GPU: {str(error).splitlines()[0]}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "host synchronisations in a forward pass of teacher and jump: 0"


def clips(scale: Scale, device: torch.device) -> str:
    few, many = 2, scale.clips
    first, whole = (_making(scale, device, count) for count in (few, many))
    rate = (many - few) / max(whole - first, 1e-9)
    return (
        f"clips made: {many} in {whole:.1f} s, {first:.1f} s of it before the first (the encoder is "
        f"calibrated on the CPU), then {rate:.0f} a second"
    )


def _making(scale: Scale, device: torch.device, count: int) -> float:
    data = PuckData.model_validate({**scale.data, "clips": count})
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        load(data, 0, Path(folder), device, tasks=["base"])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began
