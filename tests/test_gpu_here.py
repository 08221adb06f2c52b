"""Tests that are marked `gpu` are skipped where there is none, and only there."""

from __future__ import annotations

import pynvml
import pytest

from tests.support.gpu_here import missing_gpu


def asked(
    monkeypatch: pytest.MonkeyPatch, *, error: int | None = None, count: int = 0
) -> str | None:
    def start() -> None:
        if error is not None:
            raise pynvml.NVMLError(error)

    monkeypatch.setattr(pynvml, "nvmlInit", start)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: count)
    return missing_gpu.__wrapped__()


@pytest.mark.parametrize(
    "error", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED]
)
def test_without_a_driver_there_is_no_gpu_and_nvml_says_why(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    assert asked(monkeypatch, error=error) == f"needs an NVIDIA GPU: {pynvml.NVMLError(error)}"


def test_a_driver_that_counts_none_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, count=0) == "needs an NVIDIA GPU: NVML counts none"


def test_where_there_is_one_its_tests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, count=1) is None


def test_a_driver_in_trouble_hides_no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, error=pynvml.NVML_ERROR_UNKNOWN) is None


@pytest.mark.gpu
def test_a_test_that_is_marked_runs_only_where_nvml_counts_a_gpu() -> None:
    pynvml.nvmlInit()
    try:
        assert pynvml.nvmlDeviceGetCount() > 0
    finally:
        pynvml.nvmlShutdown()
