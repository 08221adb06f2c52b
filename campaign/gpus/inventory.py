"""Which probe a host uses, and the CPU slots that stand beside its GPUs.

``python -P -m campaign.gpus.inventory [HOST]`` prints that probe's report as one line of JSON.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from campaign.gpus.fake import FakeFileProbe
from campaign.gpus.nvml import NvmlProbe
from campaign.gpus.probe import Device, DeviceKind, GpuProbe

ENV_FAKE = "CAMPAIGN_FAKE_GPUS"
"""Path of a script for the fake probe; every screen then says SIMULATED."""


def probe_for(host: str, environ: Mapping[str, str]) -> GpuProbe:
    """The fake probe where CAMPAIGN_FAKE_GPUS names its script, else NVML."""
    if script := environ.get(ENV_FAKE):
        return FakeFileProbe(Path(script), host=host)
    return NvmlProbe(host=host)


def cpu_slots(host: str, count: int) -> tuple[Device, ...]:
    """``cpu:<host>:<slot>``: the devices of runs that want no GPU."""
    return tuple(
        Device(id=f"cpu:{host}:{slot}", kind=DeviceKind.CPU, host=host, index=slot, name="CPU slot")
        for slot in range(count)
    )


if __name__ == "__main__":
    print(probe_for((sys.argv[1:] or ["localhost"])[0], os.environ).report().model_dump_json())
