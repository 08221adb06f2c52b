"""The GPU benchmark of HOPE, whole, at a size that a CPU takes in seconds; only compiled cases are left to a GPU."""

from __future__ import annotations

import pytest
import torch

from tests.bench import hope_gpu
from tests.bench.report import as_text

TINY = hope_gpu.Scale(
    samples=2,
    depth=2,
    rounds=3,
    clips=4,
    model={"width": 24, "heads": 2},
    data={"grid": [2, 2], "feature_width": 16},
    ways=[way for way in hope_gpu.WAYS if "compiled" not in way],
)


def test_every_case_can_be_taken() -> None:
    result = hope_gpu.measured(TINY, torch.device("cpu"))
    notes = "\n".join(result.notes)
    assert "out of memory" not in notes
    assert len(result.rows) == 2 * (len(TINY.ways) + 2 * 3)
    for word in (
        "P5, bf16, CUDA graph",
        "hybrid, fp32, eager",
        "block checkpointing",
        "clips made",
    ):
        assert word in notes
    assert as_text(result)


@pytest.mark.parametrize("of", hope_gpu.MODELS)
@pytest.mark.parametrize("way", hope_gpu.WAYS)
def test_the_documented_sizes_are_valid_settings(of: str, way: str) -> None:
    settings = hope_gpu.settings_of(hope_gpu.Scale(), of, hope_gpu.WAYS[way])
    assert (settings.batch, settings.context, settings.model.width) == (16, 7, 384)
    assert settings.data.grid == (16, 16)


def test_once_the_budget_is_spent_nothing_more_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hope_gpu, "BUDGET", 0.0)
    scale = hope_gpu.Scale(**{**vars(TINY), "ways": ["fp32, compiled, CUDA graph"]})
    result = hope_gpu.measured(scale, torch.device("cpu"))
    assert result.rows == ()
    assert any("left out" in note and "compiled" in note for note in result.notes)
