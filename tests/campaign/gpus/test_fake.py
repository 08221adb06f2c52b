from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.gpus.fake import FakeFileProbe, FakeProbe
from campaign.gpus.inventory import ENV_FAKE, cpu_slots, probe_for
from campaign.gpus.nvml import NvmlProbe
from campaign.gpus.probe import DeviceKind, DeviceReport, ProbeKind

SHORT = {"id": "GPU-1", "index": 0, "name": "test"}


def test_reports_come_in_turn_and_the_last_one_stays() -> None:
    script = [
        DeviceReport(probe=ProbeKind.REAL, devices=(), problem=text) for text in ("one", "two")
    ]
    probe = FakeProbe(script)
    assert [probe.report().problem for _ in range(3)] == ["one", "two", "two"]


@pytest.mark.parametrize("said", list(ProbeKind))
def test_a_fake_says_that_it_is_one_whatever_its_script_says(
    said: ProbeKind, tmp_path: Path
) -> None:
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps({"probe": said, "devices": [SHORT]}))
    assert FakeFileProbe(path, host="hosta").report().probe is ProbeKind.FAKE
    scripted = DeviceReport(probe=said, devices=())
    assert FakeProbe([scripted]).report().probe is ProbeKind.FAKE


def test_a_file_may_leave_out_kind_and_host_and_is_read_afresh(tmp_path: Path) -> None:
    path = tmp_path / "gpus.json"
    probe = FakeFileProbe(path, host="hosta")
    path.write_text(json.dumps({"devices": [SHORT]}))
    (device,) = probe.report().devices
    assert (device.host, device.kind) == ("hosta", DeviceKind.GPU)
    path.write_text(json.dumps({"devices": []}))
    assert probe.report().devices == ()


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '["x"]', '{"devices": 3}', '{"devices": [{"id": "GPU-1"}]}']
)
def test_a_script_that_cannot_be_read_is_a_report_that_says_so(text: str, tmp_path: Path) -> None:
    path = tmp_path / "gpus.json"
    path.write_text(text)
    report = FakeFileProbe(path, host="hosta").report()
    assert (report.probe, report.devices) == (ProbeKind.FAKE, ())
    assert str(path) in (report.problem or "")


def test_a_script_that_is_not_there_is_a_report_that_says_so(tmp_path: Path) -> None:
    assert "no report" in (FakeFileProbe(tmp_path / "gone", host="hosta").report().problem or "")


def test_a_fake_needs_a_report() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FakeProbe([])


def test_the_environment_chooses_the_probe() -> None:
    assert isinstance(probe_for("hosta", {}), NvmlProbe)
    assert isinstance(probe_for("hosta", {ENV_FAKE: "gpus.json"}), FakeFileProbe)


def test_the_program_prints_the_report_of_the_probe_that_the_environment_chooses(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps({"devices": [SHORT]}))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "campaign.gpus.inventory", "hosta"],
        env={**os.environ, ENV_FAKE: str(path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    report = DeviceReport.model_validate_json(done.stdout)
    assert [(d.id, d.host) for d in report.devices] == [("GPU-1", "hosta")]


def test_cpu_slots_are_devices_named_by_host_and_slot() -> None:
    slots = cpu_slots("hosta", 2)
    assert [d.id for d in slots] == ["cpu:hosta:0", "cpu:hosta:1"]
    assert {d.kind for d in slots} == {DeviceKind.CPU}
