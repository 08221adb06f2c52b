"""Laws of the story that a follower is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from campaign.errors import ExitCode
from campaign.following import EVALUATION_EVERY, Line, Snapshot, Story, exit_code
from campaign.home import Home
from campaign.rows import AlertRow, RunRow
from campaign.views import Reader
from specs.run import RunSpec
from tests.campaign.homes import fill
from tests.campaign.worlds import ROLLBACK, World, spec, verdict


class Told:
    """A world whose story is told look by look."""

    def __init__(self, directory: Path, **runs: RunSpec) -> None:
        self.world = World(**runs)
        self.home = Home(root=directory / "runs")
        self.story = Story()
        self.lines: list[Line] = []

    def look(self, at: float = 0.0, **metrics: dict[str, float]) -> list[str]:
        fill(self.home, self.world, **metrics)
        with Reader(self.home.store) as reader:
            self.story, lines = self.story.go_on(reader.snapshot("c"), at)
        return [str(line) for line in lines]


def test_a_story_that_begins_late_begins_with_how_things_are(tmp_path: Path) -> None:
    told = Told(tmp_path, a=spec(), b=spec(), w=spec())
    told.world.tick()
    told.world.see("a")
    told.world.exits("b")
    told.world.tick()
    assert told.look(a={"val/ce": 2.0}) == ["a: runs: attempt 1 at step 20", "w: runs: attempt 1"]


def test_nothing_new_is_nothing_told(tmp_path: Path) -> None:
    told = Told(tmp_path, a=spec())
    told.world.tick()
    told.look()
    assert told.look() == []


def test_a_start_and_an_end_are_told(tmp_path: Path) -> None:
    told = Told(tmp_path, a=spec())
    told.look()
    told.world.tick()
    assert told.look() == ["a: attempt 1 starts on cpu:h:0 from scratch"]
    told.world.exits("a")
    assert told.look(a={"val/ce": 2.0}) == ["a: succeeded at step 20; val/ce 2, best 2"]


def test_a_rollback_is_told_with_where_it_went_and_what_it_changed(tmp_path: Path) -> None:
    told = Told(tmp_path, a=spec(watch=[{**ROLLBACK, "set": {"limits.grace": 5}}]))
    told.world.tick()
    told.world.checkpoints("a", 10, certified=(10,))
    told.look()
    told.world.exits("a", None, signal=9, watch=(verdict("rollback", onset=15, end=20),),
                     order={"by": "watcher", "rule": "blow_up", "reason": "up"})  # fmt: skip
    told.world.tick(after=5.0)
    assert told.look() == [
        "a: rolled back to step 10 with limits.grace=5; attempt 2 starts on cpu:h:0"
    ]


def test_a_crash_is_told_before_the_next_attempt(tmp_path: Path) -> None:
    told = Told(tmp_path, a=spec())
    told.world.tick()
    told.world.checkpoints("a", 10)
    told.look()
    told.world.exits("a", 3)
    told.world.tick(after=600.0)
    ended, started = told.look()
    assert ended == "a: attempt 1 ended: failed (bad_exit): exit code 3"
    assert started == "a: attempt 2 starts on cpu:h:0 from step 10 of attempt 1"


def test_why_a_run_waits_is_told_once_and_not_at_every_second(tmp_path: Path) -> None:
    before, counted, other = (
        _run(status="queued", reason=text)
        for text in ("waits 3 of 15 s", "waits 9 of 15 s", "waits for hostb")
    )
    story, lines = Story().go_on(Snapshot(runs=(before,)), 0.0)
    assert [str(line) for line in lines] == ["a: waits 3 of 15 s"]
    story, lines = story.go_on(Snapshot(runs=(counted,)), 1.0)
    assert lines == []
    story, lines = story.go_on(Snapshot(runs=(other,)), 2.0)
    assert [str(line) for line in lines] == ["a: waits for hostb"]


def test_evaluations_are_told_sparsely() -> None:
    story, _ = Story().go_on(Snapshot(runs=(_run(status="active", step=1),)), 0.0)
    lines: list[Line] = []
    for second in range(60):
        seen = Snapshot(runs=(_run(status="active", step=2 + second),))
        story, new = story.go_on(seen, float(second))
        lines += new
    assert len(lines) == 60 // EVALUATION_EVERY - 1
    assert lines[0].text == "step 17 of 100, val/ce 2.5 (best 2.5)"


def test_an_alert_is_told_once_with_its_numbers() -> None:
    alert = AlertRow(
        id=1, campaign="c", run="a", attempt=1, at=0.0, rule="goal", action="alert",
        reason="val/ce was below 2.6: 2.5", step=20, metric="val/ce", value=2.5,
    )  # fmt: skip
    story, _ = Story().go_on(Snapshot(runs=(_run(status="active"),)), 0.0)
    seen = Snapshot(runs=(_run(status="active"),), alerts=(alert,))
    story, lines = story.go_on(seen, 1.0)
    assert [str(line) for line in lines] == ["a: alert goal at step 20: val/ce was below 2.6: 2.5"]
    assert story.go_on(seen, 2.0)[1] == []


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (["succeeded", "succeeded"], ExitCode.OK),
        (["succeeded", "failed", "killed"], ExitCode.RUN_FAILED),
        (["killed", "failed"], ExitCode.RUN_KILLED),
        (["lost"], ExitCode.RUN_FAILED),
        (["cancelled"], ExitCode.RUN_CANCELLED),
        (["refused"], ExitCode.NO_CHECKPOINT),
        (["succeeded", None], ExitCode.OK),
    ],
)
def test_the_first_run_that_did_not_succeed_gives_the_exit_code(
    results: list[str | None], code: ExitCode
) -> None:
    rows = [_ended(result) for result in results]
    assert exit_code(rows) is code


def _ended(result: str | None) -> RunRow:
    if result == "refused":
        return _run(result="failed", failure_class="could_not_start", exit_code=13)
    return _run(result=result)


def _run(**facts: Any) -> RunRow:
    known: dict[str, Any] = {
        "campaign": "c", "run": "a", "status": "done", "result": None, "failure_class": None,
        "rule": None, "attempt": 1, "step": None, "steps": 100, "phase": None, "metric": "val/ce",
        "metrics": {}, "device": None, "reason": "", "eta": None, "exit_code": None,
        "changes": {},
    }  # fmt: skip
    if (step := facts.get("step")) is not None:
        cell = {"latest": 2.5, "latest_step": step, "best": 2.5, "best_step": step}
        known["metrics"] = {"val/ce": cell}
    return RunRow(**{**known, **facts})


def test_the_best_value_that_is_told_is_said_to_be_that_of_the_phase() -> None:
    row = _run(result="succeeded", step=20, phase="scaling")
    assert "best of scaling 2.5" in _finished_text(row)
    assert "best 2.5" in _finished_text(_run(result="succeeded", step=20))


def _finished_text(row: RunRow) -> str:
    story, _ = Story().go_on(Snapshot(runs=(_run(status="active", step=20),)), 0.0)
    _, lines = story.go_on(Snapshot(runs=(row,)), 1.0)
    return " ".join(str(line) for line in lines)
