"""A watcher may die anywhere: what it wrote and ordered is, in the end, what one that lived would."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from watchers.journal import Journal

NAN = float("nan")
CE = {10: 2.4, 20: 2.2, 30: 2.1, 40: 2.0, 50: 2.7, 60: 2.1, 70: 3.0, 80: 3.3, 90: NAN, 100: NAN}
WATCH = [
    {"name": "goal", "rule": "threshold", "metric": "val/ce", "below": 2.15, "action": "alert"},
    {"name": "save", "rule": "threshold", "metric": "x", "above": 44, "action": "checkpoint"},
    {
        "name": "blow_up",
        "rule": "divergence",
        "metric": "val/ce",
        "above_best_by": 0.5,
        "action": "rollback",
    },
    {"name": "nan", "rule": "non_finite", "action": "kill"},
]


@pytest.fixture
def make(tmp_path: Path, build: Any) -> Any:
    """An attempt that blew up, with a checkpoint every ten steps; its metrics are not there yet."""
    numbers = itertools.count()

    def one() -> Any:
        attempt = build.Attempt(
            root=tmp_path / f"attempt-{next(numbers)}", watch=WATCH, certify={"evaluations": 1}
        )
        for step in range(5, 100, 10):
            attempt.checkpoint(step, finite=step != 25)
        return attempt

    return one


def metrics(attempt: Any) -> bytes:
    for step, value in CE.items():
        attempt.log(step, {"val/ce": value, "x": step})
        attempt.log(step + 1, {"x": step})
    data: bytes = attempt.files.metrics.read_bytes()
    attempt.files.metrics.unlink()
    return data


def finished(attempt: Any, build: Any, killer: Any, clock: Any) -> list[dict[str, Any]]:
    """A new watcher, to the end."""
    attempt.leave()
    build.drain(build.watcher(killer, clock, attempt))
    said: list[dict[str, Any]] = attempt.said()
    return said


@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.heavy)])
def test_a_restart_after_any_byte_of_the_metrics_writes_the_same_lines(
    make: Any, build: Any, clock: Any, every: int
) -> None:
    whole = make()
    data = metrics(whole)
    whole.write(data)
    expected = finished(whole, build, build.Killer(), clock)
    assert {line["kind"] for line in expected} == {
        "alert", "verdict", "certified", "revoked", "quarantined", "closed",
    }  # fmt: skip
    line_ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
    cuts = sorted({0, *line_ends, *range(3, len(data), every)})
    attempt = make()
    for cut in cuts:
        for path in (attempt.files.watch, attempt.files.metrics, attempt.files.exit):
            path.unlink(missing_ok=True)
        for _, path in attempt.files.orders():
            path.unlink()
        killer = build.Killer()
        attempt.write(data[:cut])
        build.drain(build.watcher(killer, clock, attempt))
        attempt.write(data[cut:])
        build.drain(build.watcher(killer, clock, attempt))
        assert finished(attempt, build, killer, clock) == expected, f"cut at byte {cut}"
        assert [order["rule"] for order in killer.orders] == ["save", "blow_up"]


def test_a_restart_after_any_byte_of_watch_jsonl_completes_it(
    make: Any, build: Any, clock: Any
) -> None:
    attempt = make()
    attempt.write(metrics(attempt))
    build.drain(build.watcher(build.Killer(), clock, attempt))
    written = attempt.files.watch.read_bytes()
    expected = [line["key"] for line in attempt.said()]
    for cut in range(0, len(written) + 1, 37):
        attempt.files.watch.write_bytes(written[:cut])
        for _, path in attempt.files.orders():
            path.unlink()
        killer = build.Killer()
        build.drain(build.watcher(killer, clock, attempt))
        assert [line["key"] for line in Journal(attempt.files.watch).lines] == expected
        assert sorted(order["rule"] for order in killer.orders) == ["blow_up", "save"]


def test_reading_one_line_at_a_time_writes_the_same_as_reading_all_at_once(
    make: Any, build: Any, clock: Any
) -> None:
    whole, stepwise = make(), make()
    data = metrics(whole)
    whole.write(data)
    expected = finished(whole, build, build.Killer(), clock)
    killer = build.Killer()
    watcher = build.watcher(killer, clock, stepwise)
    for line in data.splitlines(keepends=True):
        stepwise.write(line)
        watcher.poll()
    assert finished(stepwise, build, killer, clock) == expected


def test_checkpoints_that_appear_while_the_trainer_runs_end_with_the_same_standing(
    make: Any, build: Any, clock: Any
) -> None:
    whole, live = make(), make()
    data = metrics(whole)
    whole.write(data)

    def standings(lines: list[dict[str, Any]]) -> dict[int, str]:
        return {line["checkpoint_step"]: line["kind"] for line in lines if line["checkpoint_step"]}

    expected = standings(finished(whole, build, build.Killer(), clock))
    hidden = live.root / "hidden"
    live.files.checkpoints.rename(hidden)
    live.files.checkpoints.mkdir()
    watcher = build.watcher(build.Killer(), clock, live)
    for line, step in zip(data.splitlines(keepends=True), range(10, 120, 5), strict=False):
        live.write(line)
        for late in hidden.glob(f"step-{step - 10}"):
            late.rename(live.files.checkpoints / late.name)
        watcher.poll()
        clock.forward(2)
    for late in hidden.iterdir():
        late.rename(live.files.checkpoints / late.name)
    got = standings(finished(live, build, build.Killer(), clock))
    fallen = {"revoked", "quarantined"}
    assert {s: k if k not in fallen else "fallen" for s, k in got.items()} == {
        s: k if k not in fallen else "fallen" for s, k in expected.items()
    }
