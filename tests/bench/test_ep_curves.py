from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench.ep_curves import band, by_run, crossing, curves_of, gaps, main, report, time_band

Points = Sequence[tuple[int, Mapping[str, float]]]
Attempt = Callable[..., None]


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """Writes an attempt of a run."""

    def write(
        name: str,
        points: Points,
        *,
        seed: int = 0,
        number: int = 1,
        parent: int | None = None,
        start: Mapping[str, Any] | None = None,
    ) -> None:
        directory = tmp_path / f"seed-{seed}" / name / f"attempt-{number}"
        directory.mkdir(parents=True)
        spec = {
            "spec": {"trainer": {"seed": seed}},
            "parent_attempt": parent,
            "start": start or {"run": None, "step": None},
        }
        (directory / "spec.json").write_text(json.dumps(spec))
        lines = [json.dumps({"t": 1.0, "step": step, "m": m}) for step, m in points]
        (directory / "metrics.jsonl").write_text("\n".join(lines) + '\n{"torn')

    return write


def ce(*values: float, every: int = 100) -> list[tuple[int, dict[str, float]]]:
    return [((i + 1) * every, {"val/ce": value}) for i, value in enumerate(values)]


def test_of_a_resumed_run_the_first_attempt_counts_up_to_where_it_was_left(
    attempt: Attempt, tmp_path: Path
) -> None:
    attempt("ep_hinge", ce(3.0, 2.9, 9.9))
    attempt(
        "ep_hinge",
        [(300, {"val/ce": 2.8}), (400, {"val/ce": 2.7})],
        number=2,
        parent=1,
        start={"run": "ep_hinge", "step": 250},
    )
    (curve,) = curves_of(tmp_path)
    assert curve.of("val/ce") == {100: 3.0, 200: 2.9, 300: 2.8, 400: 2.7}


def test_a_warm_run_begins_a_curve_of_its_own(attempt: Attempt, tmp_path: Path) -> None:
    attempt("ep_plain", ce(3.0))
    attempt("ep_rescue", ce(2.5), start={"run": "ep_plain", "step": 100})
    runs = by_run(curves_of(tmp_path))
    assert runs["ep_rescue"][0].of("val/ce") == {100: 2.5}


def test_seeds_are_compared_at_the_steps_that_all_have(attempt: Attempt, tmp_path: Path) -> None:
    attempt("ep_hinge", ce(3.0, 2.0, 1.0))
    attempt("ep_hinge", ce(4.0, 2.5), seed=1)
    found = band(by_run(curves_of(tmp_path))["ep_hinge"], "val/ce")
    assert found.steps == (100, 200)
    assert (found.mean, found.low, found.high) == ((3.5, 2.25), (3.0, 2.0), (4.0, 2.5))


def test_the_gap_is_taken_within_a_seed(attempt: Attempt, tmp_path: Path) -> None:
    attempt("ep_hinge", ce(3.0, 2.0))
    attempt("bptt_twin", ce(2.5, 2.1))
    attempt("ep_hinge", ce(9.0), seed=1)
    runs = by_run(curves_of(tmp_path))
    assert gaps(runs["ep_hinge"], runs["bptt_twin"]) == pytest.approx({100: 0.5, 200: -0.1})
    assert gaps(runs["ep_hinge"], []) == {}


def test_seconds_of_training_are_those_of_the_steps_alone(attempt: Attempt, tmp_path: Path) -> None:
    attempt(
        "ep_hinge",
        [(50, {"time/step_s": 0.1}), (100, {"time/step_s": 0.2, "val/ce": 3.0})],
    )
    (curve,) = curves_of(tmp_path)
    assert time_band([curve]).mean == pytest.approx((15.0,))


def test_a_crossing_is_the_first_step_above(attempt: Attempt, tmp_path: Path) -> None:
    attempt("ep_plain", [(10, {"x": -1.0}), (20, {"x": 0.5}), (30, {"x": -0.5})])
    (curve,) = curves_of(tmp_path)
    assert crossing(curve, "x", 0.0) == 20
    assert crossing(curve, "x", 1.0) is None


def test_the_report_has_every_run_and_the_largest_gap(attempt: Attempt, tmp_path: Path) -> None:
    attempt("ep_hinge", ce(3.0, 2.0))
    attempt("bptt_twin", ce(2.9, 2.1))
    text = report(curves_of(tmp_path), 100)
    assert "ep_hinge (1): 3.000 (3.000 .. 3.000) @100" in text
    assert "ep_hinge - bptt_twin: +0.100 @100, -0.100 @200; largest +0.100 @100" in text


def test_pictures_are_drawn_of_what_is_there(
    attempt: Attempt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    attempt("ep_hinge", [(s, {**m, "time/step_s": 0.1}) for s, m in ce(3.0, 2.0)])
    assert main([str(tmp_path), "--out", str(tmp_path / "img")]) == 0
    drawn = sorted(path.name for path in (tmp_path / "img").glob("*.png"))
    assert drawn == ["ep_ce_step.png", "ep_ce_time.png"]
    attempt("ep_plain", [(10, {"spectrum/estimate": -1.0, "residual/T1": 1e-3})])
    assert main([str(tmp_path), "--out", str(tmp_path / "img")]) == 0
    assert (tmp_path / "img" / "ep_wall.png").is_file()
    assert main([str(tmp_path / "nothing")]) == 1
