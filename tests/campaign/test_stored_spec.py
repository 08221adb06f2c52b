"""Laws of specs in the store: one that this version cannot read ends its run, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from campaign import events as e
from campaign.errors import BadStore
from campaign.records import FailureClass, Result
from campaign.store import Store
from campaign.stored_spec import UnreadableSpec
from tests.campaign.worlds import ROLLBACK, World, spec, verdict


def aged(world: World, run: str, **change: Any) -> None:
    """The run as a later version finds it: its spec has a field that the models do not know."""
    record = json.loads(world.run(run).model_dump_json())
    record["spec"] |= change or {"colour": "red"}
    found = type(world.run(run)).model_validate_json(json.dumps(record))
    world.with_state(runs={**world.state.runs, ("c", run): found})


def test_a_queued_run_whose_spec_cannot_be_read_fails_with_the_reason_and_the_others_start() -> (
    None
):
    world = World(a=spec(), b=spec())
    aged(world, "a")
    world.tick()
    ending = world.run("a").status.ending
    assert (ending.result, ending.failure_class) == (Result.FAILED, FailureClass.COULD_NOT_START)
    assert "colour: Extra inputs are not permitted" in ending.reason
    assert any("c/a cannot start" in note for note in world.notes)
    assert world.run("b").status.status == "active"


def test_it_is_kept_as_it_was_written_for_the_version_that_can_read_it(tmp_path: Path) -> None:
    world = World(a=spec())
    aged(world, "a")
    written = json.loads(world.run("a").model_dump_json())["spec"]
    assert written["colour"] == "red"
    store = Store(tmp_path / "s.db")
    store.commit([*world.state.campaigns.values(), world.run("a")], (), 1.0, kind="test")
    loaded = store.load().runs["c", "a"]
    assert isinstance(loaded.spec, UnreadableSpec)
    assert loaded == world.run("a")
    assert json.loads(loaded.model_dump_json())["spec"] == written


@pytest.mark.parametrize(
    ("ends", "result", "says"),
    [
        ({"code": 0}, Result.SUCCEEDED, "finished"),
        ({"code": 1}, Result.FAILED, "not tried again: this version of campaign cannot read"),
        (
            {"code": None, "signal": 15, "watch": [verdict("rollback", onset=25, end=40)]},
            Result.KILLED,
            "not rolled back: its stored spec cannot be read",
        ),
    ],
)
def test_an_attempt_that_runs_ends_as_it_ends_and_is_not_started_again(
    ends: dict[str, Any], result: Result, says: str
) -> None:
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    world.checkpoints("a", 10, 20, certified=(10, 20))
    aged(world, "a")
    world.exits("a", ends.pop("code"), **ends)
    status = world.run("a").status
    assert (status.status, status.ending.result) == ("done", result)
    assert says in status.ending.reason


def test_changes_that_no_longer_fit_end_the_run_that_was_to_be_rolled_back_with_them() -> None:
    world = World(a=spec())
    old = world.run("a").model_copy(update={"changes": {"trainer.kind": "ep"}})
    world.with_state(runs={("c", "a"): old})
    world.tick()
    assert "a change of trainer.kind" in world.run("a").status.ending.reason


def test_a_resumed_run_of_an_unreadable_spec_fails_again_and_harms_nothing() -> None:
    world = World(a=spec())
    world.tick()
    world.checkpoints("a", 10)
    world.exits("a", 0)
    aged(world, "a")
    world.tell(e.ResumeRequested(run=("c", "a"), origin="latest"))
    world.tick()
    assert world.run("a").status.ending.failure_class is FailureClass.COULD_NOT_START


def test_a_record_that_is_damaged_altogether_is_told_with_what_to_do(tmp_path: Path) -> None:
    world = World(a=spec())
    store = Store(tmp_path / "s.db")
    store.commit([world.run("a")], (), 1.0, kind="test")
    with sqlite3.connect(tmp_path / "s.db") as db:
        db.execute("UPDATE runs SET data = '{\"campaign\": '")
    with pytest.raises(BadStore, match=r"record in runs .*\n  running trainers go on untouched"):
        store.load()
