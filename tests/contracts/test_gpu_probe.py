"""What every GPU probe promises; one suite for the fakes, NVML over a scripted library, and NVML."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.gpus.fake import FakeFileProbe, FakeProbe
from campaign.gpus.nvml import NvmlProbe
from campaign.gpus.probe import Device, DeviceKind, DeviceReport, GpuProbe, ProbeKind

HOST = "hosta"
LIBRARY = Path(__file__).parents[1] / "campaign" / "gpus" / "library"
GIB = 1 << 30


@pytest.fixture(
    params=[
        "fake",
        "fake file",
        "broken fake file",
        "NVML over a scripted library",
        "NVML over a broken library",
        "NVML as it is here",
        pytest.param("NVML on a GPU", marks=pytest.mark.gpu),
    ]
)
def probe(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> GpuProbe:
    makers: dict[str, Callable[[], GpuProbe]] = {
        "fake": lambda: FakeProbe([_report()]),
        "fake file": lambda: _fake_file(tmp_path, _report().model_dump_json()),
        "broken fake file": lambda: _fake_file(tmp_path, "[]"),
        "NVML over a scripted library": lambda: _scripted(tmp_path, monkeypatch, {}),
        "NVML over a broken library": lambda: _scripted(tmp_path, monkeypatch, {"nvmlInit": 9}),
        "NVML as it is here": lambda: NvmlProbe(host=HOST),
        "NVML on a GPU": lambda: NvmlProbe(host=HOST),
    }
    return makers[request.param]()


def _report() -> DeviceReport:
    gpus = [
        Device(
            id=f"GPU-{index}",
            kind=DeviceKind.GPU,
            host=HOST,
            index=index,
            name="NVIDIA Test",
            memory_total=80 * GIB,
            memory_used=index * GIB,
        )
        for index in range(3)
    ]
    return DeviceReport(probe=ProbeKind.REAL, devices=tuple(gpus))


def _fake_file(folder: Path, text: str) -> GpuProbe:
    path = folder / "gpus.json"
    path.write_text(text)
    return FakeFileProbe(path, host=HOST)


def _scripted(folder: Path, monkeypatch: pytest.MonkeyPatch, errors: dict[str, int]) -> GpuProbe:
    part = {"uuid": "MIG-1", "total": GIB, "used": 0}
    gpus = [
        {"uuid": "GPU-0", "total": 80 * GIB, "used": GIB, "compute": [[1, GIB]]},
        {"uuid": "GPU-1", "total": 80 * GIB, "used": 0, "slices": [part]},
    ]
    (folder / "nvml.json").write_text(json.dumps({"errors": errors, "gpus": gpus}))
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY))
    monkeypatch.setenv("FAKE_NVML", str(folder / "nvml.json"))
    return NvmlProbe(host=HOST)


def test_no_device_is_listed_twice(probe: GpuProbe) -> None:
    ids = [d.id for d in probe.report().devices]
    assert len(ids) == len(set(ids))


def test_every_device_is_a_gpu_of_the_host_that_was_asked(probe: GpuProbe) -> None:
    assert {(d.kind, d.host) for d in probe.report().devices} <= {(DeviceKind.GPU, HOST)}


def test_whole_gpus_have_different_indices_and_slices_the_index_of_their_gpu(
    probe: GpuProbe,
) -> None:
    devices = probe.report().devices
    whole = [d.index for d in devices if d.id.startswith("GPU-")]
    assert len(whole) == len(set(whole))
    assert {d.index for d in devices} <= set(whole)


def test_no_more_memory_is_used_than_there_is(probe: GpuProbe) -> None:
    for device in probe.report().devices:
        if device.memory_total is not None:
            assert 0 <= (device.memory_used or 0) <= device.memory_total


def test_a_process_is_listed_once_on_a_device(probe: GpuProbe) -> None:
    for device in probe.report().devices:
        pids = [p.pid for p in device.processes]
        assert len(pids) == len(set(pids))


def test_a_probe_that_knows_nothing_lists_nothing_and_doubt_has_a_reason(probe: GpuProbe) -> None:
    report = probe.report()
    if report.probe in (ProbeKind.NONE, ProbeKind.UNKNOWN):
        assert report.devices == ()
    if report.probe is ProbeKind.UNKNOWN:
        assert report.problem


def test_the_same_devices_are_listed_when_asked_again(probe: GpuProbe) -> None:
    first, second = probe.report(), probe.report()
    assert (first.probe, [d.id for d in first.devices]) == (
        second.probe,
        [d.id for d in second.devices],
    )


def test_a_report_survives_the_pipe(probe: GpuProbe) -> None:
    report = probe.report()
    assert DeviceReport.model_validate_json(report.model_dump_json()) == report
