"""The probe against a real GPU. Needs an NVIDIA GPU, nvidia-smi, and torch with CUDA in this Python.

Beside torch and pytest this file needs only pydantic, psutil and nvidia-ml-py:
``PYTHONPATH=. python -m pytest -m gpu tests/campaign/gpus/test_on_gpu.py tests/contracts/test_gpu_probe.py``
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from campaign.gpus.etiquette import MIB, TOLERANCE, Ours, Use, judge, look
from campaign.gpus.nvml import NvmlProbe
from campaign.gpus.probe import Device, DeviceReport, ProbeKind

pytestmark = pytest.mark.gpu

DEADLINE = 120.0
HELD = 512 * MIB

HOLD = f"""
import sys, torch
block = torch.empty({HELD}, dtype=torch.uint8, device="cuda")
block.fill_(1)
torch.cuda.synchronize()
print("ready", flush=True)
sys.stdin.read()
"""

SEE = """
import torch
print(torch.cuda.device_count(), torch.cuda.get_device_properties(0).uuid)
"""


def report() -> DeviceReport:
    return NvmlProbe(host="hosta", timeout=60.0).report()


def smi(query: str) -> list[list[str]]:
    done = subprocess.run(
        ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]


def masked(uuid: str) -> dict[str, str]:
    """The environment that the shim gives a trainer of this GPU."""
    return {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": uuid}


@contextmanager
def holder(uuid: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds HELD bytes of the GPU; SIGKILLed at the end if it still lives."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=masked(uuid),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "ready"
        yield child
    finally:
        child.kill()
        child.communicate(timeout=DEADLINE)


def device(uuid: str) -> Device:
    return next(d for d in report().devices if d.id == uuid)


def eventually(uuid: str, holds: Callable[[Device], bool]) -> Device:
    """The first look at which the condition holds; fails with the last look at the deadline."""
    end = time.monotonic() + DEADLINE
    while True:
        seen = device(uuid)
        if holds(seen):
            return seen
        assert time.monotonic() < end, seen
        time.sleep(0.05)  # between two looks of a poll


@pytest.fixture
def first() -> Device:
    """A GPU that nobody uses."""
    found = report()
    idle = [d for d in found.devices if d.problem is None and not d.processes]
    if not idle:
        said = [f"{d.id}: {d.problem or f'{len(d.processes)} processes'}" for d in found.devices]
        pytest.skip(f"needs a GPU that nobody uses: {found.problem or '; '.join(said)}")
    return idle[0]


def test_the_gpus_are_those_that_nvidia_smi_lists() -> None:
    found = report()
    listed = smi("index,uuid,name,memory.total")
    assert found.probe is ProbeKind.REAL, found.problem
    assert found.problem is None
    whole = [d for d in found.devices if d.id.startswith("GPU-")]
    assert [(d.index, d.id, d.name) for d in whole] == [
        (int(index), uuid, name) for index, uuid, name, _ in listed
    ]
    # nvidia-smi rounds to MiB
    for gpu, (*_, total) in zip(whole, listed, strict=True):
        assert gpu.memory_total is not None
        assert abs(gpu.memory_total - int(total) * MIB) <= MIB


def test_the_driver_version_is_the_one_that_nvidia_smi_tells() -> None:
    assert report().driver == smi("driver_version")[0][0]


def test_an_idle_gpu_is_free_and_its_idle_memory_is_small(first: Device) -> None:
    sight = look(None, first, Ours(uid=os.getuid()), 0.0)
    assert sight.use.use is Use.FREE, sight.use.reason
    assert sight.baseline is not None


def test_a_process_of_ours_is_ours_with_its_memory_and_a_strangers_to_others(
    first: Device,
) -> None:
    with holder(first.id) as child:
        seen = device(first.id)
        (row,) = [p for p in seen.processes if p.pid == child.pid]
        assert row.uid == os.getuid()
        assert row.memory_bytes is None or row.memory_bytes >= HELD
        ours = Ours(uid=os.getuid(), pids={first.id: frozenset({child.pid})})
        assert judge(seen, ours).use is Use.OURS
        foreign = judge(seen, Ours(uid=os.getuid()))
        assert foreign.use is Use.FOREIGN
        assert f"process {child.pid}" in foreign.reason


def test_memory_is_given_back_and_the_row_is_gone_after_sigkill(first: Device) -> None:
    baseline = first.memory_used or 0
    with holder(first.id) as child:
        assert (device(first.id).memory_used or 0) >= baseline + HELD
        os.kill(child.pid, signal.SIGKILL)
        killed = time.monotonic()
        child.wait(timeout=DEADLINE)

        def released(seen: Device) -> bool:
            listed = any(p.pid == child.pid for p in seen.processes)
            return not listed and (seen.memory_used or 0) <= baseline + TOLERANCE

        free = eventually(first.id, released)
        print(f"free {time.monotonic() - killed:.2f} s after SIGKILL")
    assert judge(free, Ours(uid=os.getuid()), baseline=baseline).use is Use.FREE


def test_a_full_uuid_shows_torch_exactly_that_gpu() -> None:
    for gpu in report().devices:
        if gpu.problem is not None:
            continue
        done = subprocess.run(
            [sys.executable, "-c", SEE],
            env=masked(gpu.id),
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE,
        )
        count, uuid = done.stdout.split()
        assert count == "1"
        assert gpu.id.lower().endswith(uuid.lower())
