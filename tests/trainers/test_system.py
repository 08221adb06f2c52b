from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from trainers.gpus import Gpus, leased
from trainers.processes import ProcessTree
from trainers.system import Sampler

PATIENT = 20.0


# ---------------------------------------------------------------- processes


@pytest.fixture
def family() -> Iterator[subprocess.Popen[str]]:
    """A process with one child that has allocated 64 MiB and waits."""
    child = "import sys; x = bytearray(64 << 20); print('ready', flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    end(process)


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()  # what the child waits for
    process.wait(PATIENT)
    if process.stdout is not None:
        process.stdout.close()


def test_a_tree_counts_all_its_processes(family: subprocess.Popen[str]) -> None:
    found = ProcessTree(family.pid).sample()
    assert found["system/processes"] == 2
    assert found["system/threads"] >= 2
    assert found["system/rss_mib"] > 64


def test_rates_need_two_samples_and_never_go_below_zero(family: subprocess.Popen[str]) -> None:
    times = iter([10.0, 12.0])
    tree = ProcessTree(family.pid, monotonic=lambda: next(times))
    assert "system/cpu_percent" not in tree.sample()
    second = tree.sample()
    for name in ("cpu_percent", "read_mib_per_s", "write_mib_per_s"):
        assert second[f"system/{name}"] >= 0


def test_a_process_that_is_gone_has_no_metrics(family: subprocess.Popen[str]) -> None:
    tree = ProcessTree(family.pid)
    tree.sample()
    end(family)
    assert tree.sample() == {}


# ---------------------------------------------------------------- GPUs


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class Nvml:
    """As much of pynvml as is asked, with one call that may fail."""

    NVMLError = NvmlError
    NVML_ERROR_LIBRARY_NOT_FOUND = 12
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, **failing: int) -> None:
        self._failing = failing
        self.opened: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> Any:
            if name in self._failing:
                raise NvmlError(self._failing[name])
            if name == "nvmlDeviceGetHandleByUUID":
                self.opened.append(given[0])
            return {
                "nvmlDeviceGetHandleByUUID": given[:1],
                "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87),
                "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=3 << 30),
                "nvmlDeviceGetPowerUsage": 412_500,
                "nvmlDeviceGetTemperature": 61,
            }.get(name)

        return call


def test_a_gpu_is_measured_in_the_units_of_its_names() -> None:
    notes: list[str] = []
    found = Gpus(("GPU-a", "GPU-b"), notes.append, nvml=Nvml()).sample()
    for index in (0, 1):
        assert found[f"system/gpu{index}_util_percent"] == 87
        assert found[f"system/gpu{index}_memory_mib"] == 3072
        assert found[f"system/gpu{index}_power_w"] == 412.5
        assert found[f"system/gpu{index}_temperature_c"] == 61
    assert notes == []


def test_only_leased_gpus_are_opened() -> None:
    nvml = Nvml()
    Gpus(("GPU-a",), lambda note: None, nvml=nvml).sample()
    assert nvml.opened == ["GPU-a"]


def test_without_a_lease_nvml_is_not_even_started() -> None:
    nvml = Nvml(nvmlInit=999)
    notes: list[str] = []
    assert Gpus((), notes.append, nvml=nvml).sample() == {}
    assert notes == []


@pytest.mark.parametrize(
    ("call", "value", "left", "said"),
    [
        ("nvmlInit", 12, 0, ""),  # no library is no GPU
        ("nvmlInit", 9, 0, "NVML does not start"),
        ("nvmlDeviceGetHandleByUUID", 6, 0, "no handle of GPU 0"),
        ("nvmlDeviceGetPowerUsage", 3, 3, "no power_w of GPU 0"),
        ("nvmlDeviceGetUtilizationRates", 15, 3, "no util_percent of GPU 0"),
    ],
)
def test_what_nvml_refuses_is_said_once_and_the_rest_is_measured(
    call: str, value: int, left: int, said: str
) -> None:
    notes: list[str] = []
    gpus = Gpus(("GPU-a",), notes.append, nvml=Nvml(**{call: value}))
    assert len(gpus.sample()) == left
    assert len(gpus.sample()) == left
    assert len(notes) == (1 if said else 0)
    assert all(said in note for note in notes)


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        (None, ()),
        ("", ()),
        ("0,1", ()),
        ("GPU-aa", ("GPU-aa",)),
        ("GPU-aa, MIG-bb", ("GPU-aa", "MIG-bb")),
    ],
)
def test_the_lease_is_read_from_full_uuids_alone(
    visible: str | None, uuids: tuple[str, ...]
) -> None:
    assert leased({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == uuids


# ---------------------------------------------------------------- the sampler


class Recorder:
    def __init__(self) -> None:
        self.samples: list[Mapping[str, float]] = []
        self.notes: list[str] = []
        self.heard = threading.Event()

    def emit(self, metrics: Mapping[str, float]) -> None:
        self.samples.append(metrics)
        if len(self.samples) == 3:
            self.heard.set()

    def note(self, message: str) -> None:
        self.notes.append(message)
        self.heard.set()


def test_all_sources_go_into_one_sample() -> None:
    heard = Recorder()
    sampler = Sampler(
        lambda: (lambda: {"system/a": 1.0}, lambda: {"system/b": 2.0}),
        emit=heard.emit,
        note=heard.note,
        first=0.0,
        every=0.0,
    )
    sampler.start()
    assert heard.heard.wait(PATIENT)
    sampler.close()
    count = len(heard.samples)
    assert all(sample == {"system/a": 1.0, "system/b": 2.0} for sample in heard.samples)
    assert len(heard.samples) == count
    assert heard.notes == []


@pytest.mark.parametrize("where", ["begin", "sample"])
def test_a_source_that_fails_is_said_and_ends_the_sampling_alone(where: str) -> None:
    def fail() -> Any:
        raise RuntimeError("broken")

    heard = Recorder()
    sampler = Sampler(
        fail if where == "begin" else lambda: (fail,),
        emit=heard.emit,
        note=heard.note,
        first=0.0,
        every=0.0,
    )
    sampler.start()
    assert heard.heard.wait(PATIENT)
    sampler.close()
    assert heard.notes == ["no more system metrics: RuntimeError: broken"]
    assert heard.samples == []


def test_a_training_that_ends_at_once_is_not_sampled() -> None:
    asked: list[str] = []

    def begin() -> Any:
        asked.append("begin")
        return ()

    sampler = Sampler(begin, emit=lambda m: None, note=asked.append, first=3600.0)
    sampler.start()
    sampler.close(patience=PATIENT)
    assert asked == []
