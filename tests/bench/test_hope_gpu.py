"""The GPU benchmark of HOPE, whole, at a size that a CPU takes in seconds; only compiled cases are left to a GPU."""

from __future__ import annotations

import pytest
import torch

from tests.bench import hope_gpu, hope_gpu_checks
from tests.bench.figures import Interval
from tests.bench.hope_models import MODELS, WAYS, Scale, settings_of
from tests.bench.report import as_text

CPU = torch.device("cpu")
TINY = Scale(
    samples=2,
    depth=2,
    rounds=3,
    clips=4,
    shrunk=128,
    model={"width": 24, "heads": 2},
    data={"grid": [2, 2], "feature_width": 16},
    ways=[way for way in WAYS if "compiled" not in way],
)


def test_every_case_can_be_taken_and_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    result = hope_gpu.measured(TINY, CPU)
    notes = "\n".join(result.notes)
    assert "failed" not in notes
    assert len(result.rows) == 1 + len(TINY.ways) + 3 * 4
    for word in (
        "P5: bf16, CUDA graph",
        "hybrid: fp32, eager",
        "D0: 3xTF32, CUDA graph",
        "goal 3:",
        "product of a read, in (4 x 33 x 3 x 6): float32",
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


COMPILED = Scale(**{**vars(TINY), "ways": ["fp32, compiled, CUDA graph"]})


def test_once_the_budget_is_spent_nothing_more_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hope_gpu, "BUDGET", 0.0)
    result = hope_gpu.measured(COMPILED, CPU, only="compiled")
    assert result.rows == ()
    assert any("were spent" in note and "compiled" in note for note in result.notes)


def test_what_compiles_is_taken_only_where_it_is_named() -> None:
    result = hope_gpu.measured(COMPILED, CPU)
    assert result.rows == ()
    assert any("as it compiles" in note for note in result.notes)


@pytest.mark.parametrize(
    ("only", "rows", "notes"),
    [
        (
            "3xtf32",
            {
                "D0: documented layer, fp32, eager (beside 3xTF32, CUDA graph)",
                "D0: 3xTF32, CUDA graph",
                "ViT-24: 3xTF32, CUDA graph",
                "P5: 3xTF32, CUDA graph",
                "hybrid: 3xTF32, CUDA graph",
            },
            0,
        ),
        ("ViT-24: bf16, eager", {"ViT-24: bf16, eager"}, 0),
        ("peak memory", set(), 2),
        ("clips", set(), 1),
        ("products", set(), 7),
    ],
)
def test_a_word_chooses_cases_and_what_they_are_compared_with(
    only: str, rows: set[str], notes: int
) -> None:
    result = hope_gpu.measured(TINY, CPU, only)
    assert {row.what for row in result.rows} == rows
    assert len(result.notes) == len(rows) + notes


def test_a_word_that_no_case_has_is_refused() -> None:
    with pytest.raises(ValueError, match="--only p6: no case is named so"):
        hope_gpu.measured(TINY, CPU, "p6")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(3.1, 3.3, "; goal 3: met"), (2.1, 2.9, "; goal 3: not met"), (2.9, 3.1, "; goal 3: undecided")],
)  # fmt: skip
def test_a_goal_is_met_where_the_whole_interval_is(low: float, high: float, said: str) -> None:
    times = Interval(low=low, high=high, confidence=0.98)
    assert hope_gpu._against_goal("D0: 3xTF32, CUDA graph", times) == said
    assert hope_gpu._against_goal("ViT-24: bf16, eager", times) == ""


def test_every_goal_is_that_of_a_case() -> None:
    ways = [way for way in WAYS if "compiled" not in way]
    cases = {case.what for cases in hope_gpu.groups_of(ways, compiled=False) for case in cases}
    assert cases >= hope_gpu.GOALS.keys()
