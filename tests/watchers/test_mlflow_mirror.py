"""The mirror over a store in memory: every point once, whatever is cut, refused, deleted or down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specs.files import metric_line, write_json
from tests.watchers.mlflow_homes import CAMPAIGN, SPEC, T0, FakeAttempt, FakeHome, resume
from watchers.mlflow_attempts import LEDGER, default_uri, directories, lag
from watchers.mlflow_cursor import Ledger
from watchers.mlflow_memory import OUTAGE, MemoryRun, MemoryTarget
from watchers.mlflow_mirror import DOUBTS, Mirror
from watchers.mlflow_port import MetricRow, RunStatus, Unavailable, Unsure


class Stage:
    """A home, a store and publishers that come and go; the clock moves only when told."""

    def __init__(self, root: Path, target: MemoryTarget | None = None) -> None:
        self.home = FakeHome(root)
        self.target = target or MemoryTarget()
        self.said: list[str] = []
        self.now = 0.0
        self.ledger = Ledger.open(root / LEDGER)
        self.renew()

    def renew(self) -> None:
        """As after kill -9: another publisher over the same files."""
        self.ledger.close()
        self.ledger = Ledger.open(self.home.root / LEDGER)
        self.mirror = Mirror(self.target, self.ledger, say=self.said.append, clock=lambda: self.now)

    def publish(self) -> None:
        while self.mirror.advance(directories(self.home.root)):
            pass

    def run(self, name: str) -> MemoryRun:
        (found,) = [run for run in self.target.runs.values() if run.new.name == name]
        return found

    def steps(self, name: str, key: str = "val/ce") -> list[int]:
        return sorted(row[1] for row in self.run(name).rows if row[0] == key)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def rows_of(attempt: FakeAttempt, up_to: int | None = None) -> set[MetricRow]:
    """What MLflow has to hold of a file of finite values, written down independently."""
    rows = set()
    for line in attempt.files.metrics.read_text().splitlines():
        value = json.loads(line)
        if up_to is None or value["step"] <= up_to:
            for key, v in value["m"].items():
                rows.add((key, value["step"], round(value["t"] * 1000), v, False))
    return rows


# ---------------------------------------------------------------- what a run holds


def test_a_campaign_is_an_experiment_and_an_attempt_a_run_with_all_its_points(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve(range(1, 50))
    stage.publish()
    assert stage.target.experiments == {CAMPAIGN: "1"}
    assert stage.run("redx").rows == rows_of(attempt)
    assert stage.run("redx").params["trainer.jacreg.weight"] == "0.0001"
    assert stage.run("redx").status is RunStatus.RUNNING


def test_what_a_trainer_says_of_itself_is_there_with_its_first_points(stage: Stage) -> None:
    attempt = stage.home.attempt()
    stage.publish()
    attempt.started({"parameters": {"cms": 3, "total": 5}, "vocabulary": 96})
    attempt.curve(range(1, 5))
    stage.publish()
    params = stage.run("redx").params
    named = {name: params[name] for name in ("parameters", "parameters.cms", "facts.vocabulary")}
    assert named == {"parameters": "5", "parameters.cms": "3", "facts.vocabulary": "96"}


def test_of_a_trainer_that_left_before_its_first_line_it_is_there_at_its_end(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.started({"parameters": 5})
    attempt.leave(exit_code=1)
    stage.publish()
    assert stage.run("redx").params["parameters"] == "5"


def test_an_attempt_says_nothing_of_the_trainer_of_its_ancestor(stage: Stage) -> None:
    first = stage.home.attempt()
    first.started({"device": "there"})
    first.curve(range(1, 5))
    first.leave(exit_code=1)
    second = stage.home.attempt(2, resume(1, 3))
    second.started({"device": "here"})
    second.curve(range(4, 6))
    stage.publish()
    assert stage.run("redx (attempt 2)").params["facts.device"] == "here"


def test_points_arrive_as_they_are_written_and_a_torn_line_waits_for_its_end(stage: Stage) -> None:
    attempt = stage.home.attempt()
    line = metric_line(T0, 2, {"val/ce": 2.0})
    attempt.curve([1])
    attempt.write(line[:-9])
    stage.publish()
    assert stage.steps("redx") == [1]
    attempt.write(line[-9:])
    stage.publish()
    assert stage.steps("redx") == [1, 2]


def test_a_resumed_run_shows_one_whole_curve_and_hangs_the_earlier_attempt_below_it(
    stage: Stage,
) -> None:
    first = stage.home.attempt()
    first.curve(range(1, 301))
    first.leave(exit_code=None, signal=15, order={"by": "watcher", "rule": "x", "reason": "y"})
    second = stage.home.attempt(2, resume(1, 200))
    second.curve(range(201, 401))
    stage.publish()
    assert stage.run("redx").rows == rows_of(first)
    assert stage.run("redx (attempt 2)").rows == rows_of(first, 200) | rows_of(second)
    assert stage.steps("redx (attempt 2)") == list(range(1, 401))
    parent = stage.run("redx").tags["mlflow.parentRunId"]
    assert stage.target.runs[parent] is stage.run("redx (attempt 2)")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_attempts_are_linked_in_whatever_order_they_are_found(
    stage: Stage, order: tuple[int, ...]
) -> None:
    made = {n: stage.home.attempt(n) for n in (1, 2, 3)}
    for number in order:
        while stage.mirror.advance([made[number].root]):
            pass
    names = {1: "redx", 2: "redx (attempt 2)", 3: "redx (attempt 3)"}
    ids = {run.new.name: run_id for run_id, run in stage.target.runs.items()}
    parents = [stage.run(names[n]).tags.get("mlflow.parentRunId") for n in (1, 2, 3)]
    assert parents == [ids[names[2]], ids[names[3]], None]


def test_an_ancestor_that_is_not_here_is_said_and_the_rest_is_published(stage: Stage) -> None:
    stage.home.attempt(2, resume(1, 200)).curve(range(201, 210))
    stage.publish()
    assert stage.steps("redx (attempt 2)") == list(range(201, 210))
    assert any("attempt 1, which it goes on from, is not here" in text for text in stage.said)


# ---------------------------------------------------------------- killed anywhere


class Killed(BaseException):
    """The publisher's process ends here."""


class DyingTarget(MemoryTarget):
    """Kills the publisher before or after its n-th call, and takes part of a batch on the way."""

    def __init__(self, call: int, *, after: bool) -> None:
        super().__init__()
        self.left = call
        self.after = after

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        calls = ("experiment", "find_run", "create_run", "log_points", "log_params", "set_tags")
        if name not in (*calls, "log_artifact", "end"):
            return value
        return lambda *arguments: self._call(value, arguments)

    def _call(self, method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            if method.__name__ == "log_points":
                method(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise Killed
        result = method(*arguments)
        if self.left == 0:
            raise Killed
        return result


def family(home: FakeHome) -> tuple[FakeAttempt, FakeAttempt]:
    first = home.attempt()
    first.started({"parameters": 7})
    first.curve(range(1, 520))
    first.leave(exit_code=1)
    second = home.attempt(2, resume(1, 510))
    second.curve(range(511, 600))
    second.leave()
    return first, second


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_call_the_next_publisher_leaves_the_same_runs(
    tmp_path: Path, after: bool
) -> None:
    for call in range(1, 26):
        root = tmp_path / f"{call}"
        root.mkdir()
        stage = Stage(root, target := DyingTarget(call, after=after))
        first, second = family(stage.home)
        try:
            stage.publish()
        except Killed:
            stage.renew()
            stage.publish()
        assert [run.new.name for run in target.runs.values()] == ["redx", "redx (attempt 2)"]
        assert stage.run("redx").rows == rows_of(first)
        assert stage.run("redx (attempt 2)").rows == rows_of(first, 510) | rows_of(second)
        assert [run.status for run in target.runs.values()] == [
            RunStatus.FAILED,
            RunStatus.FINISHED,
        ]
        assert all(
            run.artifacts.keys() >= {"spec.json", "exit.json"} for run in target.runs.values()
        )
        assert "mlflow.parentRunId" in stage.run("redx").tags
        assert stage.run("redx").params["parameters"] == "7"
    assert target.left > 0, "the last calls were never reached, so every one was cut"


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_cut_and_grown_in_any_order_every_complete_line_is_published_once(data: Any) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        stage = Stage(Path(root))
        attempt = stage.home.attempt()
        content = b"".join(metric_line(T0 + s, s, {"a": s / 3, "b": 1.0}) for s in range(1, 60))
        at = 0
        for _ in range(data.draw(st.integers(1, 6))):
            cut = data.draw(st.integers(at, len(content)))
            attempt.write(content[at:cut])
            at = cut
            if data.draw(st.booleans()):
                stage.renew()
            stage.publish()
        attempt.write(content[at:])
        stage.publish()
        assert stage.run("redx").rows == rows_of(attempt)


def test_what_is_settled_is_not_sent_again_but_later_lines_are(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve(range(1, 10))
    attempt.leave()
    stage.publish()
    before = list(stage.target.calls)
    stage.renew()
    stage.publish()
    assert stage.target.calls == before
    attempt.curve([10])  # a copy of it was published before it had ended
    stage.renew()
    stage.publish()
    assert stage.steps("redx") == list(range(1, 11))


def test_without_its_ledger_everything_is_published_again_and_nothing_changes(stage: Stage) -> None:
    family(stage.home)
    stage.publish()
    before = {name: set(run.rows) for name, run in stage.target.runs.items()}
    stage.ledger.forget(stage.target.uri)
    stage.renew()
    stage.publish()
    assert {name: run.rows for name, run in stage.target.runs.items()} == before


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ("record", "status", "tags"),
    [
        ({}, "FINISHED", {"result": "succeeded"}),
        (
            {"exit_code": None, "signal": 15,
             "order": {"by": "watcher", "rule": "blow_up", "reason": "3.8 at step 7"}},
            "KILLED", {"result": "killed", "rule": "blow_up", "reason": "3.8 at step 7"},
        ),
        (
            {"exit_code": 3, "failure_class": "cuda_oom", "detail": "no memory"},
            "FAILED", {"result": "failed", "failure_class": "cuda_oom"},
        ),
    ],
)  # fmt: skip
def test_the_end_is_that_of_exit_json(
    stage: Stage, record: dict[str, Any], status: str, tags: dict[str, str]
) -> None:
    attempt = stage.home.attempt()
    attempt.curve([1])
    stage.publish()
    attempt.leave(**record)
    stage.publish()
    run = stage.run("redx")
    assert run.status == status
    assert run.end_time == round((attempt.started_at + 500) * 1000)
    assert run.tags.items() >= tags.items()
    assert json.loads(run.artifacts["spec.json"])["spec"] == SPEC


def test_what_the_trainer_made_for_people_goes_along_at_the_end(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve([1])
    attempt.files.artifacts.mkdir()
    (attempt.files.artifacts / "matrix.json").write_bytes(b"{}")
    (attempt.files.artifacts / ".half.tmp").write_bytes(b"{")
    attempt.leave()
    stage.publish()
    made = stage.run("redx").artifacts
    assert made["matrix.json"] == b"{}"
    assert ".half.tmp" not in made


def test_what_the_trainer_wrote_before_it_ended_is_published_before_the_end_is(
    stage: Stage,
) -> None:
    attempt = stage.home.attempt()
    attempt.curve(range(1, 6000))  # more than one read
    attempt.leave()
    ended_with: list[int] = []
    end = stage.target.end
    stage.target.end = lambda *a: (ended_with.append(len(stage.run("redx").rows)), end(*a))  # type: ignore[method-assign,assignment,func-returns-value]
    stage.publish()
    assert ended_with == [2 * 5999]


def test_an_attempt_lost_without_a_record_ends_when_the_next_one_exists(stage: Stage) -> None:
    first = stage.home.attempt()
    first.curve([1, 2])
    stage.publish()
    assert stage.run("redx").status is RunStatus.RUNNING
    stage.home.attempt(2, resume(1, 1))
    stage.publish()
    assert stage.run("redx").status is RunStatus.FAILED
    assert stage.run("redx").tags["result"] == "lost"
    assert stage.run("redx").end_time == round((first.started_at + 2 / 7) * 1000)


def test_an_attempt_ends_when_it_is_proved_that_it_never_started(stage: Stage) -> None:
    attempt = stage.home.attempt()
    write_json(attempt.files.unstarted, {"schema": 1, "at": T0 + 3, "reason": "no disk"})
    stage.publish()
    run = stage.run("redx")
    assert (run.status, run.tags["result"], run.end_time) == ("FAILED", "failed", (T0 + 3) * 1000)


# ---------------------------------------------------------------- the store says no


def test_a_refused_point_is_recorded_said_and_blocks_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, MemoryTarget(lambda p: "bad name" if p.key == "b d" else None))
    attempt = stage.home.attempt()
    for step in range(1, 400):
        attempt.log(step, {"val/ce": 2.0, **({"b d": 1.0} if step in (77, 300) else {})})
    stage.publish()
    assert stage.steps("redx") == list(range(1, 400))
    assert stage.steps("redx", "b d") == []
    (key,) = [run.new.key for run in stage.target.runs.values()]
    assert [row[:2] for row in stage.ledger.refused("memory:", key)] == [("b d", 77), ("b d", 300)]
    assert any("MLflow refuses 'b d'" in text and "step 77" in text for text in stage.said)


def test_an_outage_stops_the_round_and_loses_nothing(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve(range(1, 20))
    stage.publish()
    stage.target.down = OUTAGE
    attempt.curve(range(20, 40))
    with pytest.raises(Unavailable):
        stage.publish()
    attempt.curve(range(40, 60))
    stage.target.down = None
    stage.publish()
    assert stage.run("redx").rows == rows_of(attempt)


class DoubtfulTarget(MemoryTarget):
    """Fails without a reason where a batch holds ``bad``; the other attempts' batches are fine."""

    def log_points(self, run_id: str, points: Any) -> None:
        if any(point.key == "bad" for point in points):
            raise Unsure("internal error")
        super().log_points(run_id, points)


def test_a_point_that_fails_without_a_reason_is_refused_only_after_many_tries(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, DoubtfulTarget())
    sick, well = stage.home.attempt(run="sick"), stage.home.attempt(run="well")
    sick.log(1, {"a": 1.0, "bad": 2.0, "c": 3.0})
    well.curve([1])
    for _ in range(DOUBTS):
        stage.publish()
        assert stage.steps("well") == [1]
        assert stage.run("sick").rows == set()
        assert list(stage.mirror.paused) == [sick.root]
        stage.now += 30
    stage.publish()
    assert {row[0] for row in stage.run("sick").rows} == {"a", "c"}
    assert stage.mirror.paused == {}


def test_an_attempt_in_doubt_is_left_alone_until_its_pause_is_over(tmp_path: Path) -> None:
    stage = Stage(tmp_path, DoubtfulTarget())
    stage.home.attempt().log(1, {"bad": 2.0})
    for _ in range(DOUBTS + 3):  # no time passes
        stage.publish()
    assert stage.mirror.paused
    assert stage.ledger.refused("memory:", stage.run("redx").new.key) == []


def test_a_deleted_experiment_is_restored_with_its_runs_when_there_is_more_to_publish(
    stage: Stage,
) -> None:
    attempt = stage.home.attempt()
    attempt.curve(range(1, 5))
    stage.publish()
    stage.target.delete_experiment(CAMPAIGN)
    stage.publish()
    assert stage.run("redx").deleted, "nothing to publish: what the user did stands"
    attempt.curve(range(5, 9))
    stage.publish()
    assert not stage.run("redx").deleted
    assert stage.run("redx").rows == rows_of(attempt)
    assert any("had been deleted in MLflow; it is restored" in text for text in stage.said)


def test_a_new_campaign_of_a_deleted_experiments_name_restores_it(stage: Stage) -> None:
    stage.target.experiment(CAMPAIGN)
    stage.target.delete_experiment(CAMPAIGN)
    stage.home.attempt().curve([1])
    stage.publish()
    assert stage.steps("redx") == [1]


def test_a_deleted_run_stays_deleted_and_is_completed_if_it_is_restored(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve([1])
    stage.publish()
    run = stage.run("redx")
    run.deleted = True
    attempt.curve([2])
    stage.publish()
    assert run.deleted
    assert stage.mirror.paused == {}, "the user wants it so: nobody has to wait for it"
    run.deleted = False
    stage.now += 61
    stage.publish()
    assert stage.steps("redx") == [1, 2]


def test_a_run_that_was_purged_is_published_anew(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve(range(1, 5))
    stage.publish()
    stage.target.runs.clear()
    attempt.curve([5])
    stage.publish()
    assert stage.run("redx").rows == rows_of(attempt)


def test_a_param_that_would_change_is_said_and_blocks_nothing(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve([1])
    stage.publish()
    stage.run("redx").params["trainer.kind"] = "hope"
    stage.ledger.forget(stage.target.uri)
    stage.renew()
    stage.publish()
    assert stage.run("redx").params["trainer.kind"] == "hope"
    assert any("params are not all in MLflow" in text for text in stage.said)


def test_an_unreadable_spec_is_said_once_and_the_others_are_published(stage: Stage) -> None:
    bad = stage.home.attempt(run="bad")
    bad.files.spec.write_text('{"schema": 1}')
    stage.home.attempt().curve([1])
    stage.publish()
    stage.publish()
    assert stage.steps("redx") == [1]
    assert Counter("spec.json" in text for text in stage.said)[True] == 1


def test_an_attempt_that_nobody_thought_of_keeps_no_other_back(stage: Stage) -> None:
    odd = stage.home.attempt(run="odd")
    write_json(odd.files.spec, {**odd.content, "devices": 7})
    stage.home.attempt().curve([1])
    stage.publish()
    assert stage.steps("redx") == [1]
    assert list(stage.mirror.paused) == [odd.root]
    assert any("odd/attempt-1: TypeError" in text for text in stage.said)


def test_lines_that_are_no_metric_lines_are_counted_aloud(stage: Stage) -> None:
    attempt = stage.home.attempt()
    attempt.curve([1])
    attempt.write(b"{torn\nnoise\n")
    attempt.curve([2])
    stage.publish()
    assert stage.steps("redx") == [1, 2]
    assert any("2 lines are left out, the first at byte" in text for text in stage.said)


# ---------------------------------------------------------------- how far behind


def test_lag_counts_the_complete_lines_that_are_not_published(tmp_path: Path) -> None:
    target = MemoryTarget()
    target.uri = default_uri(tmp_path)
    stage = Stage(tmp_path, target)
    first, second = stage.home.attempt(), stage.home.attempt(run="other")
    first.curve(range(1, 11))
    second.curve(range(1, 4))
    who, other = (CAMPAIGN, "redx", 1), (CAMPAIGN, "other", 1)
    assert lag(tmp_path) == {who: 10, other: 3}
    stage.publish()
    assert lag(tmp_path) == {who: 0, other: 0}
    first.curve([11])
    first.write(b'{"t": 1')
    assert lag(tmp_path) == {who: 1, other: 0}
    assert lag(tmp_path, "https://elsewhere") == {who: 11, other: 3}


def test_lag_of_a_home_where_nothing_was_published_changes_nothing(tmp_path: Path) -> None:
    home = FakeHome(tmp_path)
    home.attempt().curve([1, 2])
    before = sorted(tmp_path.iterdir())
    assert lag(tmp_path) == {(CAMPAIGN, "redx", 1): 2}
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("level", ["home", "campaign", "run", "attempt"])
def test_attempts_are_found_from_every_level_of_a_copy(tmp_path: Path, level: str) -> None:
    attempt = FakeHome(tmp_path).attempt()
    (tmp_path / "mlflow-artifacts" / "a" / "b").mkdir(parents=True)
    up = {"home": 3, "campaign": 2, "run": 1, "attempt": 0}[level]
    root = [attempt.root, *attempt.root.parents][up]
    assert list(directories(root)) == [attempt.root]
