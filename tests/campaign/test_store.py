"""Laws of the store: what is acknowledged stays, and a device is leased once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from campaign.database import SCHEMA_VERSION
from campaign.errors import BadStore
from campaign.store import Store
from tests.campaign.worlds import World, spec


def test_a_loaded_state_is_the_committed_state(tmp_path: Path) -> None:
    world = World(a=spec(), b=spec())
    store = Store(tmp_path / "s.db")
    store.commit(_records(world), (), 1.0, kind="test")
    world.tick()
    world.checkpoints("a", 10, certified=(10,))
    store.commit(_records(world), ("started",), 2.0, kind="test")
    loaded = Store(tmp_path / "s.db").load()
    assert loaded.runs == world.state.runs
    assert loaded.attempts == world.state.attempts
    assert loaded.checkpoints == world.state.checkpoints
    assert loaded.hosts == world.state.hosts


def _records(world: World) -> tuple:  # type: ignore[type-arg]
    state = world.state
    return (
        *state.campaigns.values(),
        *state.runs.values(),
        *state.attempts.values(),
        *state.checkpoints.values(),
        *state.hosts.values(),
    )


def test_a_second_lease_of_a_device_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    world = World(a=spec(), b=spec())
    world.tick()
    store = Store(tmp_path / "s.db")
    thief = world.attempt("b").model_copy(update={"devices": world.attempt("a").devices})
    store.commit([world.attempt("a")], (), 1.0, kind="test")
    with pytest.raises(sqlite3.IntegrityError):
        store.commit([world.run("b"), thief], ("stolen",), 2.0, kind="test")
    assert set(store.load().attempts) == {("c", "a", 1)}
    assert store.load().runs == {}
    assert store.rows("SELECT count(*) FROM events") == [(0,)]


def test_a_lease_is_free_again_once_the_attempt_gave_it_back(tmp_path: Path) -> None:
    world = World(a=spec(), b=spec())
    world.tick()
    store = Store(tmp_path / "s.db")
    first = world.attempt("a")
    store.commit([first], (), 1.0, kind="test")
    store.commit([first.model_copy(update={"leased": False})], (), 2.0, kind="test")
    other = world.attempt("b").model_copy(update={"devices": first.devices})
    store.commit([other], (), 3.0, kind="test")
    assert store.rows("SELECT run FROM leases") == [("b",)]


def test_an_answered_request_is_not_open_any_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    number = store.request("down", {"stop_runs": False}, 1.0)
    assert [r.id for r in store.open_requests()] == [number]
    store.commit((), (), 2.0, kind="down", answer=(number, "ok"))
    assert store.open_requests() == []
    assert store.answer_of(number) == "ok"


def test_another_connection_sees_that_something_was_committed(tmp_path: Path) -> None:
    reader, writer = Store(tmp_path / "s.db"), Store(tmp_path / "s.db")
    before = reader.data_version()
    writer.request("down", {}, 1.0)
    assert reader.data_version() != before


def test_a_store_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"x" * 4096)
    with pytest.raises(BadStore, match=r"trainers go on untouched"):
        Store(tmp_path / "s.db")


def test_a_store_of_another_schema_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    store._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()
    with pytest.raises(BadStore, match="schema"):
        Store(tmp_path / "s.db")


_WRITER = """
import sys
from pathlib import Path
from campaign.store import Store
store = Store(Path(sys.argv[1]))
while True:
    print(store.request("down", {}, 1.0), flush=True)
"""


@pytest.mark.heavy
def test_no_acknowledged_request_is_lost_when_writers_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    Store(path).close()
    acknowledged: set[int] = set()
    for _ in range(10):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(20):
            acknowledged.add(int(writer.stdout.readline()))
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().splitlines(keepends=True)
        acknowledged |= {int(line) for line in rest if line.endswith(b"\n")}
        writer.wait()
    present = {request.id for request in Store(path).open_requests()}
    assert acknowledged <= present
