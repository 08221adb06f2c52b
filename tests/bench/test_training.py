from __future__ import annotations

from pathlib import Path

import pytest

from specs.files import metric_line
from tests.bench.training import Sample, cpu_at, training_of

SAMPLES = [Sample(t=10.0, cpu=1.0), Sample(t=11.0, cpu=2.0), Sample(t=13.0, cpu=3.0)]


@pytest.mark.parametrize(
    ("t", "cpu"), [(9.0, 1.0), (10.0, 1.0), (10.25, 1.25), (11.0, 2.0), (12.0, 2.5), (14.0, 3.0)]
)
def test_cpu_time_between_two_samples_is_in_proportion(t: float, cpu: float) -> None:
    assert cpu_at(SAMPLES, t) == pytest.approx(cpu)


def test_the_first_steps_and_lines_without_a_step_time_do_not_count(tmp_path: Path) -> None:
    lines = [
        (9.0, 5, {"time/step_s": 99.0}),
        (10.0, 15, {"time/step_s": 0.1}),
        (10.5, 16, {"val/ce": 2.0}),
        (11.0, 20, {"time/step_s": 0.2}),
        (12.0, 25, {"time/step_s": 0.3}),
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(metric_line(*line) for line in lines))
    found = training_of(tmp_path, SAMPLES)
    assert found.step == pytest.approx(0.2)
    assert found.whole == pytest.approx((12.0 - 10.0) / 10)
    assert found.cpu == pytest.approx((2.5 - 1.0) / 10)
