"""The real probe over a scripted NVML library, in the real child process."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from campaign.gpus import nvml_read
from campaign.gpus.nvml import NvmlProbe
from campaign.gpus.probe import DeviceReport, ProbeKind

LIBRARY = Path(__file__).parent / "library"
GIB = 1 << 30
GPU = {"uuid": "GPU-aaaa", "total": 80 * GIB, "used": 0}
OTHER = {"uuid": "GPU-bbbb", "total": 80 * GIB, "used": 0}

Play = Callable[..., DeviceReport]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs the probe over a script of the library in tests/campaign/gpus/library."""
    script = tmp_path / "nvml.json"
    monkeypatch.setenv("PYTHONPATH", str(LIBRARY))
    monkeypatch.setenv("FAKE_NVML", str(script))

    def run(timeout: float = 30.0, **scripted: Any) -> DeviceReport:
        script.write_text(json.dumps(scripted))
        return NvmlProbe(host="hosta", timeout=timeout).report()

    return run


def test_a_gpu_is_listed_with_uuid_index_name_memory_and_driver(play: Play) -> None:
    report = play(gpus=[GPU, OTHER | {"name": "NVIDIA H200", "used": 3 * GIB}])
    assert (report.probe, report.problem, report.driver) == (ProbeKind.REAL, None, "580.1")
    second = report.devices[1]
    assert (second.id, second.index, second.host) == ("GPU-bbbb", 1, "hosta")
    assert (second.name, second.memory_total, second.memory_used) == (
        "NVIDIA H200",
        80 * GIB,
        3 * GIB,
    )


def test_compute_graphics_and_mps_processes_are_listed_once_each_with_their_owner(
    play: Play,
) -> None:
    mine, gone = os.getpid(), 2**22 + 7  # beyond the largest pid that Linux gives
    lists = {"compute": [[mine, 5 * GIB]], "graphics": [[mine, GIB]], "mps": [[gone, None]]}
    (gpu,) = play(gpus=[GPU | lists]).devices
    me, hidden = gpu.processes
    assert (me.pid, me.memory_bytes, me.uid) == (mine, 5 * GIB, os.getuid())
    assert me.user == pwd.getpwuid(os.getuid()).pw_name
    assert (hidden.pid, hidden.memory_bytes, hidden.uid, hidden.user) == (gone, None, None, None)


def test_the_drivers_own_reserve_is_not_counted_as_used(play: Play) -> None:
    (gpu,) = play(gpus=[GPU | {"reserved": 600 << 20}]).devices
    assert gpu.memory_used == 0


def test_an_old_driver_without_the_newer_calls_is_read_through_the_older_ones(play: Play) -> None:
    old = [
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetMPSComputeRunningProcesses_v3",
        "nvmlDeviceGetMPSComputeRunningProcesses_v2",
        "nvmlDeviceGetFieldValues",
    ]
    (gpu,) = play(old=old, gpus=[GPU | {"compute": [[os.getpid(), GIB]]}]).devices
    assert gpu.problem is None
    assert gpu.memory_total == 80 * GIB
    assert [p.pid for p in gpu.processes] == [os.getpid()]


@pytest.mark.parametrize(
    ("function", "code", "text"),
    [
        ("nvmlInit", 9, "Driver Not Loaded"),
        ("nvmlInit", 999, "Unknown Error"),
        ("nvmlDeviceGetCount", 15, "GPU is lost"),
        ("nvmlSystemGetDriverVersion", 999, "Unknown Error"),
    ],
)
def test_an_nvml_error_that_concerns_all_gpus_is_unknown_and_never_no_gpu(
    play: Play, function: str, code: int, text: str
) -> None:
    report = play(errors={function: code}, gpus=[GPU])
    assert report.probe is ProbeKind.UNKNOWN
    assert report.devices == ()
    assert text in (report.problem or "")


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetName",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetFieldValues",
    ],
)
def test_a_gpu_that_does_not_answer_has_a_problem_and_the_others_stay_usable(
    play: Play, function: str
) -> None:
    lost, well = play(gpus=[GPU | {"errors": {function: 15}}, OTHER]).devices
    assert (lost.id, lost.problem) == ("GPU-aaaa", "NVML: GPU is lost")
    assert (well.id, well.problem) == ("GPU-bbbb", None)


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"])
def test_a_gpu_without_an_identity_is_not_offered_and_the_report_says_so(
    play: Play, function: str
) -> None:
    report = play(gpus=[GPU | {"errors": {function: 15}}, OTHER])
    assert [(d.id, d.index) for d in report.devices] == [("GPU-bbbb", 1)]
    assert "GPU 0 does not tell its UUID" in (report.problem or "")


def test_a_gpu_whose_processes_cannot_be_listed_has_a_problem(play: Play) -> None:
    names = [f"nvmlDeviceGetComputeRunningProcesses_v{n}" for n in (2, 3)]
    (gpu,) = play(gpus=[GPU | {"errors": dict.fromkeys(names, 3)}]).devices
    assert gpu.problem == "NVML: Not Supported"


def test_a_gpu_for_which_the_driver_asks_recovery_has_a_problem(play: Play) -> None:
    (gpu,) = play(gpus=[GPU | {"recovery": 1}]).devices
    assert gpu.problem == "the driver asks for a GPU reset of this GPU"


def test_a_gpu_in_mig_mode_is_a_problem_and_its_slices_are_devices(play: Play) -> None:
    part = {"uuid": "MIG-cccc", "name": "slice", "total": 10 * GIB, "used": GIB}
    busy = part | {"uuid": "MIG-dddd", "compute": [[os.getpid(), GIB]]}
    whole, first, second = play(gpus=[GPU | {"slices": [part, None, busy]}]).devices
    assert "MIG mode" in (whole.problem or "")
    assert [(s.id, s.index, s.problem) for s in (first, second)] == [
        ("MIG-cccc", 0, None),
        ("MIG-dddd", 0, None),
    ]
    assert first.memory_total == 10 * GIB
    assert [p.pid for p in second.processes] == [os.getpid()]


def test_the_health_of_a_slice_is_that_of_its_gpu(play: Play) -> None:
    part = {"uuid": "MIG-cccc", "total": GIB, "used": 0}
    _, piece = play(gpus=[GPU | {"recovery": 2, "slices": [part]}]).devices
    assert piece.problem == "the driver asks for a reboot of this GPU"


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetMemoryInfo"])
def test_a_hanging_library_is_unknown_after_the_timeout(play: Play, function: str) -> None:
    report = play(timeout=0.5, hang=function, gpus=[GPU])
    assert report.probe is ProbeKind.UNKNOWN
    assert report.problem == "NVML hung: no answer within 0.5 s"


def test_no_second_child_is_started_while_one_does_not_die(
    play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    undying: list[subprocess.Popen[str]] = []
    end = subprocess.Popen.kill
    monkeypatch.setattr(subprocess.Popen, "kill", lambda child: undying.append(child))
    (tmp_path / "nvml.json").write_text(json.dumps({"hang": "nvmlInit"}))
    probe = NvmlProbe(host="hosta", timeout=0.5)
    probe.report()
    (child,) = undying
    try:
        assert f"process {child.pid}, does not die" in (probe.report().problem or "")
        assert len(undying) == 1
    finally:
        end(child)
        child.communicate()
    (tmp_path / "nvml.json").write_text(json.dumps({"gpus": [GPU]}))
    assert NvmlProbe(host="hosta").report().probe is ProbeKind.REAL


def test_what_a_library_prints_itself_does_not_disturb_the_report(play: Play) -> None:
    assert play(noise="driver says hello", gpus=[GPU]).devices[0].id == "GPU-aaaa"


def test_a_child_that_breaks_is_unknown_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml.py").write_text("raise RuntimeError('half installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = NvmlProbe(host="hosta").report()
    assert report.probe is ProbeKind.UNKNOWN
    assert "half installed" in (report.problem or "")


def test_a_missing_python_package_is_unknown_and_never_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml.py").write_text("raise ImportError('no such package')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = NvmlProbe(host="hosta").report()
    assert report.probe is ProbeKind.UNKNOWN
    assert "nvidia-ml-py" in (report.problem or "")


class _NoLibrary:
    """pynvml on a machine where the library does not load."""

    NVML_ERROR_LIBRARY_NOT_FOUND = 12

    class NVMLError(Exception):
        value = 12

    def nvmlInit(self) -> None:
        raise self.NVMLError


def _loader(text: str | None) -> Callable[[str], object]:
    def load(name: str) -> object:
        if text is None:
            return object()
        raise OSError(text)

    return load


@pytest.mark.parametrize(
    ("loading", "probe"),
    [
        ("libnvidia-ml.so.1: cannot open shared object file: No such file or directory", "none"),
        ("libother.so: cannot open shared object file: No such file or directory", "unknown"),
        ("libnvidia-ml.so.1: invalid ELF header", "unknown"),
        (None, "unknown"),
    ],
)
def test_only_a_library_that_is_not_there_means_no_gpu(loading: str | None, probe: str) -> None:
    assert nvml_read.read(_NoLibrary(), "hosta", load=_loader(loading))["probe"] == probe


def test_the_child_needs_neither_pydantic_nor_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pydantic", "campaign"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported by the child')")
    (tmp_path / "pynvml.py").write_text((LIBRARY / "pynvml.py").read_text())
    (tmp_path / "nvml.json").write_text(json.dumps({"gpus": [GPU]}))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "nvml.json"))
    assert NvmlProbe(host="hosta").report().devices[0].id == "GPU-aaaa"
