"""The GPU benchmark of HOPE, whole, at a size that a CPU takes in seconds; only compiled cases are left to a GPU."""

from __future__ import annotations

import pytest
import torch

from tests.bench import hope_gpu, hope_gpu_checks
from tests.bench.hope_models import MODELS, WAYS, Scale, settings_of
from tests.bench.report import as_text

CPU = torch.device("cpu")
TINY = Scale(
    samples=2,
    depth=2,
    rounds=3,
    clips=4,
    model={"width": 24, "heads": 2},
    data={"grid": [2, 2], "feature_width": 16},
    ways=[way for way in WAYS if "compiled" not in way],
)


def test_every_case_can_be_taken_and_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    result = hope_gpu.measured(TINY, CPU)
    notes = "\n".join(result.notes)
    assert "failed" not in notes
    assert len(result.rows) == 1 + len(TINY.ways) + 3 * 3
    for word in (
        "P5: bf16, CUDA graph",
        "hybrid: fp32, eager",
        "block checkpointing",
        "clips made",
    ):
        assert word in notes
    assert as_text(result)
    said = capsys.readouterr().err
    assert all(note in said for note in result.notes)


@pytest.mark.parametrize("of", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_the_documented_sizes_are_valid_settings(of: str, way: str) -> None:
    settings = settings_of(Scale(), of, WAYS[way])
    assert (settings.batch, settings.context, settings.model.width) == (16, 7, 384)
    assert settings.data.grid == (16, 16)


def test_a_case_that_fails_is_reported_and_the_others_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("no such kernel")

    taken = hope_gpu._step_of

    def step_of(scale: Scale, device: torch.device, case: hope_gpu.Case) -> hope_gpu.Step:
        return broken() if case.of == "ViT-24" else taken(scale, device, case)

    monkeypatch.setattr(hope_gpu_checks, "clips", broken)
    monkeypatch.setattr(hope_gpu, "_step_of", step_of)
    result = hope_gpu.measured(Scale(**{**vars(TINY), "ways": ["fp32, eager"]}), CPU)
    failed = [note for note in result.notes if "failed" in note]
    assert failed == [
        "ViT-24: fp32, eager: failed: RuntimeError: no such kernel",
        "clips: failed: RuntimeError: no such kernel",
    ]
    assert {row.what: row.against for row in result.rows} == {
        "D0: documented layer, fp32, eager": None,
        "D0: fp32, eager": "D0: documented layer, fp32, eager",
        "P5: fp32, eager": None,
        "hybrid: fp32, eager": None,
    }


def test_once_the_budget_is_spent_nothing_more_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hope_gpu, "BUDGET", 0.0)
    scale = Scale(**{**vars(TINY), "ways": ["fp32, compiled, CUDA graph"]})
    result = hope_gpu.measured(scale, CPU)
    assert result.rows == ()
    assert any("left out" in note and "compiled" in note for note in result.notes)
