"""Real Ray, a real GPU: a run sees the device that it is pinned to, and gets it empty."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from campaign.gpus.etiquette import MIB, TOLERANCE
from campaign.gpus.nvml import NvmlProbe
from campaign.gpus.probe import Device, DeviceReport, ProbeKind
from tests.faults.plane import await_that, plane, script

pytestmark = [pytest.mark.gpu, pytest.mark.heavy, pytest.mark.timeout(280)]

HELD = 8192 * MIB

HOLDS = f"""
import json, os, sys
import pynvml
pynvml.nvmlInit()
visible = os.environ["CUDA_VISIBLE_DEVICES"]
gpu = pynvml.nvmlDeviceGetHandleByUUID(visible)
used = pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2).used
import torch
block = torch.ones({HELD}, dtype=torch.uint8, device="cuda")
torch.cuda.synchronize()
uuids = [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]
found = {{"visible": visible, "order": os.environ["CUDA_DEVICE_ORDER"], "uuids": uuids, "used": used}}
with open(sys.argv[1] + ".tmp", "w") as out:
    json.dump(found, out)
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
if len(sys.argv) > 2:
    import signal
    signal.pause()
"""


def idle_gpus(report: DeviceReport) -> list[Device]:
    return [d for d in whole(report) if d.problem is None and not d.processes]


def whole(report: DeviceReport) -> list[Device]:
    """Its GPUs; a MIG slice is none."""
    return [d for d in report.devices if d.id.startswith("GPU-")]


def why_none(report: DeviceReport) -> str:
    """Why this machine has no GPU to test on: only said where that is so."""
    if report.probe is ProbeKind.NONE:
        return "this machine has no NVML library, so no GPU"
    if report.probe is ProbeKind.UNKNOWN:
        return f"nothing is known of this machine's GPUs: {report.problem}"
    if not whole(report):
        return "this machine has no GPU that is whole"
    troubles = [f"{d.id}: {d.problem or 'in use'}" for d in whole(report)]
    return f"no GPU of this machine is idle: {'; '.join(troubles)}"


def campaign(where: Path, pinned: Device, others: list[str]) -> Path:
    program = script(where, "holds.py", HOLDS)

    def run(name: str, *more: str) -> str:
        argv = json.dumps([sys.executable, program, str(where / name), *more])
        return f"  {name}: {{trainer: {{argv: {argv}}}}}\n"

    needs = f"{{gpus: 1, pin: [{pinned.id}], exclude: {json.dumps(others)}}}"
    path = where / "pinned.yaml"
    path.write_text(
        f"campaign: pinned\ndefaults: {{trainer: {{kind: command}}, resources: {needs}}}\n"
        f"runs:\n{run('first', 'stay')}{run('second')}"
    )
    return path


def told(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None  # type: ignore[no-any-return]


def test_a_pinned_run_sees_exactly_its_gpu_and_the_next_one_gets_it_empty(tmp_path: Path) -> None:
    report = NvmlProbe(host="here", timeout=60.0).report()
    gpus = idle_gpus(report)
    if not gpus:
        pytest.skip(why_none(report))
    pinned, others = gpus[-1], [gpu.id for gpu in gpus[:-1]]
    baseline = pinned.memory_used or 0
    with plane(tmp_path / "home") as made:
        made.client.submit(campaign(tmp_path, pinned, others))
        first = await_that("the first holds its memory", lambda: told(tmp_path / "first"), 200.0)
        assert first["order"] == "PCI_BUS_ID"
        assert first["visible"] == pinned.id
        assert [uuid.removeprefix("GPU-") for uuid in first["uuids"]] == [
            pinned.id.removeprefix("GPU-")
        ]
        assert made.run("second").attempt == 0, "the device is taken"
        made.client.kill("pinned/first")
        second = await_that("the second has it", lambda: told(tmp_path / "second"), 200.0)
        assert second["visible"] == pinned.id
        assert second["used"] <= baseline + TOLERANCE, "the killed run's memory was given back"
        await_that("the second has ended", lambda: made.run("second").result == "succeeded")
        released = [
            json.loads(made.files("pinned", run).exit.read_text()) for run in ("first", "second")
        ]
        print(
            json.dumps({"baseline": baseline, "first": first, "second": second, "exit": released})
        )
