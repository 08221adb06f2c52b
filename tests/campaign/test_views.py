"""Laws of the reading side: complete rows, and no query for each run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from campaign.home import Home
from campaign.records import Progress
from campaign.store import Store
from campaign.views import Reader
from specs.run import RunSpec
from tests.campaign.homes import fill, progress_of
from tests.campaign.worlds import ROLLBACK, World, campaign, spec, verdict


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "runs")


def _reader(home: Home, world: World, **metrics: dict[str, float]) -> Reader:
    fill(home, world, **metrics)
    return Reader(home.store)


def test_a_home_without_a_store_reads_as_empty_and_stays_so(home: Home) -> None:
    with Reader(home.store) as reader:
        assert (reader.runs(), reader.campaigns(), reader.hosts()) == ([], [], [])
    assert not home.store.exists()


def test_every_status_says_why(home: Home) -> None:
    world = World(a=spec(), b=spec(), w=spec())
    world.tick()
    world.see("a")
    world.exits("b", 3, events=({"event": "failed", "class": "non_finite", "message": "NaN"},))
    world.tick()
    rows = {row.run: row for row in _reader(home, world).runs()}
    assert (rows["a"].status, rows["a"].reason) == ("active", "")
    assert (rows["b"].status, rows["b"].result) == ("done", "failed")
    assert rows["b"].failure_class == "non_finite"
    assert "NaN" in rows["b"].reason
    assert rows["w"].status == "active"  # it got the slot of b
    assert [row.device for row in rows.values()] == ["cpu:h:0", "cpu:h:1", "cpu:h:1"]


def test_a_queued_run_says_what_it_waits_for(home: Home) -> None:
    world = World(a=spec(), b=spec(), w=spec())
    world.tick()
    row = _reader(home, world).runs()[2]
    assert (row.status, row.attempt, row.device) == ("queued", 0, None)
    assert "waits for 1 CPU slot" in row.reason


def test_a_run_that_was_rolled_back_shows_its_whole_line(home: Home) -> None:
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    world.checkpoints("a", 10, 20, certified=(10,))
    world.exits("a", None, signal=9, watch=(verdict("rollback", onset=15, end=20),),
                order={"by": "watcher", "rule": "blow_up", "reason": "up"})  # fmt: skip
    world.tick(after=5.0)
    world.see("a")
    fill(home, world)
    _progress(home, 1, 10, 1.5)
    _progress(home, 2, 12, 2.5)
    with Reader(home.store) as reader:
        (row,) = reader.runs()
        first, second = reader.attempts("c", "a")
    cell = row.metrics["val/ce"]
    assert (row.attempt, row.step) == (2, 12)
    assert (cell["latest"], cell["best"], cell["best_step"]) == (2.5, 1.5, 10)
    assert first.verdict is not None
    assert (first.verdict["rule"], first.result) == ("blow_up", "killed")
    assert (second.parent, second.first_step) == (1, 10)


def _progress(home: Home, number: int, step: int, value: float, **more: Any) -> None:
    store = Store(home.store)
    progress = progress_of(step, {"val/ce": value}, **more)
    store.commit(
        [Progress(campaign="c", run="a", number=number, progress=progress)], (), 1.0, kind="test"
    )
    store.close()


def test_brief_rows_say_the_same_of_the_metric_that_counts(home: Home) -> None:
    world = World(a=spec(), b=spec())
    world.tick()
    reader = _reader(home, world, a={"val/ce": 2.5, "x": 1.0, 'q"uote': 2.0}, b={"loss": 3.0})
    brief, count = reader.brief_runs(newest=10)
    assert count == 2
    for short, full in zip(brief, reader.runs(), strict=True):
        assert short.metric == full.metric
        assert short.metrics[short.metric] == full.metrics[full.metric]
        assert (short.step, short.reason, short.eta) == (full.step, full.reason, full.eta)


def test_a_run_is_in_the_phase_of_its_newest_line_in_brief_rows_too(home: Home) -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    fill(home, world)
    _progress(home, 1, 10, 1.5, phase={"name": "scaling", "since": 7})
    with Reader(home.store) as reader:
        rows = [*reader.runs(), *reader.brief_runs(newest=1)[0]]
    assert [row.phase for row in rows] == ["scaling", "scaling"]


def test_the_newest_runs_are_those_submitted_last(home: Home) -> None:
    reader = _reader(home, World(**{name: spec() for name in "abcd"}))
    brief, count = reader.brief_runs(newest=2)
    assert ([row.run for row in brief], count) == (["c", "d"], 4)


def _statements(home: Home, runs: int) -> int:
    world = World(**{f"r{i}": spec() for i in range(runs)})
    world.tick()
    reader = _reader(home, world)
    seen: list[str] = []
    reader._db.set_trace_callback(seen.append)
    reader.runs()
    reader.brief_runs(newest=1000)
    reader.snapshot("c")
    reader.checkpoints()
    reader.names()
    return len(seen)


def test_many_runs_are_read_with_the_queries_of_one(tmp_path: Path) -> None:
    one = _statements(Home(root=tmp_path / "one"), 1)
    many = _statements(Home(root=tmp_path / "many"), 60)
    assert many == one


def test_a_submit_that_no_controller_has_taken_is_shown(home: Home) -> None:
    home.create()
    store = Store(home.store)
    _submit(store, {"a": spec()})
    with Reader(home.store) as reader:
        (row,) = reader.runs()
        assert reader.names() == [("c", "a")]
        assert [c.waiting for c in reader.campaigns()] == [True]
    assert (row.status, row.attempt) == ("queued", 0)
    assert "waits for a controller" in row.reason


def test_a_submit_that_was_taken_is_shown_once(home: Home) -> None:
    world = World(a=spec())
    fill(home, world)
    _submit(Store(home.store), {"a": spec()})
    with Reader(home.store) as reader:
        assert reader.names() == [("c", "a")]
        assert len(reader.runs()) == 1


def _submit(store: Store, runs: dict[str, RunSpec]) -> None:
    dumped = {name: run.model_dump(mode="json") for name, run in runs.items()}
    record = campaign().model_dump(mode="json")
    store.request("submit", {"campaign": record, "runs": json.dumps(dumped)}, 1.0)


def test_a_checkpoint_that_is_not_certified_says_what_it_lacks(home: Home) -> None:
    world = World(a=spec())
    world.tick()
    world.checkpoints("a", 10, 20, certified=(10,))
    fill(home, world)
    store = Store(home.store)
    said = {"20": {"standing": "complete", "reason": "needs 1 more healthy evaluation"}}
    progress = progress_of(20, {}, checkpoints=said)
    store.commit([Progress(campaign="c", run="a", number=1, progress=progress)], (), 1.0, kind="t")
    with Reader(home.store) as reader:
        certified, complete = reader.checkpoints("c", "a")
    assert (certified.status, certified.reason) == ("certified", "in band")
    assert (complete.status, complete.reason) == ("complete", "needs 1 more healthy evaluation")


def test_alerts_come_in_order_and_from_where_one_left_off(home: Home) -> None:
    world = World(a=spec())
    world.tick()
    world.see("a", watch=(_alert("x", 1), _alert("y", 2)))
    home.create()
    store = Store(home.store)
    seen = world.see("a", watch=(_alert("z", 3),))
    store.commit((*world.state.campaigns.values(), *world.state.runs.values()), (), 1.0, kind="t")
    store.commit(seen.records, (), 1.0, kind="t")
    with Reader(home.store) as reader:
        (alert,) = reader.alerts("c")
        assert (alert.rule, alert.step, alert.value) == ("z", 3, 1.5)
        assert reader.alerts("c", after=alert.id) == []


def _alert(rule: str, step: int) -> dict[str, object]:
    return {
        "kind": "alert", "key": f"{rule}:{step}", "t": 1.0, "rule": rule, "action": "alert",
        "reason": "r", "step": step, "metric": "val/ce", "value": 1.5,
    }  # fmt: skip


def test_a_device_names_the_attempt_that_holds_it(home: Home) -> None:
    world = World(a=spec())
    world.tick()
    with _reader(home, world) as reader:
        assert {d: (a.run, a.number) for d, a in reader.leases().items()} == {"cpu:h:0": ("a", 1)}
        assert reader.cookies() == {("c", "a", 1): world.attempt("a").cookie}


def test_a_reader_sees_that_something_was_committed(home: Home) -> None:
    reader = _reader(home, World(a=spec()))
    before = reader.version()
    assert reader.version() == before
    Store(home.store).request("down", {"stop_runs": False}, 1.0)
    assert reader.version() != before
