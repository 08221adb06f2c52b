"""Laws of the loop: commit before act, and adopt before anything new starts."""

from __future__ import annotations

import json
import queue
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from campaign.controller import Controller, attempt_of
from campaign.hosts import messages
from campaign.hosts.messages import AnyMessage
from campaign.hosts.port import Cursor, Observation
from campaign.store import Store
from tests.campaign.worlds import ALIVE, PID, campaign, host, spec


class ScriptedLink:
    """Remembers what it was told; `checks` runs at each message."""

    def __init__(self) -> None:
        self.sent: list[AnyMessage] = []
        self.epoch = 1
        self.check: Any = lambda message: None

    def tend(self) -> None:
        return None

    def send(self, message: AnyMessage) -> None:
        self.check(message)
        self.sent.append(message)

    def close(self, *, stop_plane: bool) -> None:
        return None


class Bench:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.facts: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.link = ScriptedLink()
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        """A new controller over the same store, as after a kill."""
        self.controller = Controller(
            store=Store(self.path),
            link=self.link,
            facts=self.facts,
            clock=self._clock,
            say=self.said.append,
        )

    def _clock(self) -> float:
        self.now += 1.0
        return self.now

    def submit(self, name: str = "c", **runs: Any) -> int:
        payload = {
            "campaign": campaign(name).model_dump(mode="json"),
            "runs": json.dumps({k: v.model_dump(mode="json") for k, v in runs.items()}),
        }
        return Store(self.path).request("submit", payload, self.now)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.controller.turn()

    def starts(self) -> list[str]:
        return [m.launch.run for m in self.link.sent if isinstance(m, messages.Start)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path / "s.db")
    bench.facts.put(messages.HostSeen(facts=host()))
    bench.turn()
    return bench


def test_a_submitted_run_is_answered_and_started(bench: Bench) -> None:
    number = bench.submit(a=spec())
    bench.turn(2)
    assert bench.starts() == ["a"]
    assert "submitted" in (Store(bench.path).answer_of(number) or "")


def test_what_is_sent_to_a_host_was_committed_before(bench: Bench) -> None:
    def check(message: AnyMessage) -> None:
        if isinstance(message, messages.Start):
            stored = Store(bench.path).load()
            assert (
                stored.attempts[attempt_of(message.launch.directory)].cookie
                == message.launch.cookie
            )
            assert set(message.launch.devices) <= set(stored.leases())

    bench.link.check = check
    bench.submit(a=spec(), b=spec())
    bench.turn(3)
    assert bench.starts() == ["a", "b"]


def test_a_request_made_while_no_controller_ran_is_taken_by_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "s.db")
    bench.submit(a=spec())
    bench.start()
    bench.facts.put(messages.HostSeen(facts=host()))
    bench.turn(3)
    assert bench.starts() == ["a"]


def _insert(path: Path, kind: str, text: str) -> int:
    """A request as another version, or a damaged disk, has left it."""
    with sqlite3.connect(path) as db:
        row = (kind, text, 0.0)
        done = db.execute("INSERT INTO requests (kind, payload, made_at) VALUES (?, ?, ?)", row)
    assert done.lastrowid is not None
    return done.lastrowid


@pytest.mark.parametrize("damage", ["torn", "field"])
def test_a_submit_that_cannot_be_read_is_refused_aloud_and_everything_else_goes_on(
    bench: Bench, damage: str
) -> None:
    stored = spec().model_dump(mode="json") | {"colour": "red"}
    payload = {
        "campaign": campaign("old").model_dump(mode="json"),
        "runs": json.dumps({"a": stored}),
    }
    text = json.dumps(payload)
    number = _insert(bench.path, "submit", text if damage == "field" else text[:100])
    bench.submit(b=spec())
    bench.turn(3)
    store = Store(bench.path)
    answer = store.answer_of(number) or ""
    assert answer.startswith("refused: request ")
    assert store.open_requests() == []
    assert (answer,) in store.rows("SELECT note FROM events")
    assert [json.loads(data)["reason"] for (data,) in store.rows("SELECT data FROM alerts")] == [
        answer
    ]
    assert bench.starts() == ["b"]
    bench.start()
    bench.turn(2)
    assert set(bench.controller.state.campaigns) == {"c"}


def test_a_request_of_a_kind_that_is_not_known_is_refused(bench: Bench) -> None:
    number = _insert(bench.path, "paint", "{}")
    bench.turn()
    assert "knows no 'paint'" in (Store(bench.path).answer_of(number) or "")


def test_a_new_controller_starts_over_a_run_that_it_cannot_read(bench: Bench) -> None:
    bench.submit(a=spec(start={"warm_from": {"run": "x"}}))
    bench.turn(2)
    with sqlite3.connect(bench.path) as db:
        db.execute("UPDATE runs SET data = json_set(data, '$.spec.colour', 'red')")
    bench.start()
    bench.submit("d", b=spec())
    bench.turn(3)
    assert bench.controller.state.runs["c", "a"].status.status == "done"
    assert bench.starts() == ["b"]


def test_what_other_runs_start_from_is_told_to_the_host_again_after_a_restart(
    bench: Bench,
) -> None:
    bench.submit(a=spec(), b=spec(start={"warm_from": {"run": "a", "step": 20}}))
    bench.turn(3)
    directory = bench.controller.state.attempts["c", "a", 1].directory
    bench.facts.put(messages.Observed(observation=_seen(directory)))
    bench.turn(2)
    told = messages.Keep(host="h", directory=directory, steps=(20,))
    assert bench.link.sent.count(told) == 1
    bench.link.epoch = 2
    bench.turn(2)
    assert bench.link.sent.count(told) == 2


def test_a_new_controller_adopts_what_runs_and_starts_nothing_twice(bench: Bench) -> None:
    bench.submit(a=spec())
    bench.turn(3)
    directory = bench.controller.state.attempts["c", "a", 1].directory
    bench.facts.put(messages.Observed(observation=_seen(directory)))
    bench.turn()
    bench.link.sent.clear()
    bench.start()
    bench.turn(3)
    tracked = [m for m in bench.link.sent if isinstance(m, messages.Track)]
    assert [(m.directory, m.devices) for m in tracked] == [(directory, ("cpu:h:0",))]
    assert tracked[0].cursor == Cursor(events=5, watch=7)
    assert bench.starts() == []


def test_when_the_other_side_was_started_anew_it_is_told_everything_again(bench: Bench) -> None:
    bench.submit(a=spec())
    bench.turn(3)
    bench.link.sent.clear()
    bench.link.epoch = 2
    bench.turn()
    assert [type(m) for m in bench.link.sent][:1] == [messages.Track]


def test_idle_means_that_nothing_runs_and_nothing_waits(bench: Bench) -> None:
    assert bench.controller.idle
    bench.submit(a=spec())
    bench.turn(2)
    assert not bench.controller.idle


def test_going_down_starts_nothing_more(bench: Bench) -> None:
    Store(bench.path).request("down", {"stop_runs": False}, bench.now)
    bench.turn()
    bench.submit(a=spec())
    bench.turn(3)
    assert bench.controller.going_down is False
    assert bench.starts() == []


def test_a_down_that_was_meant_for_an_earlier_controller_does_not_end_this_one(
    bench: Bench,
) -> None:
    Store(bench.path).request("down", {"stop_runs": False}, 1.0)
    bench.turn()
    assert bench.controller.going_down is None
    assert Store(bench.path).open_requests() == []


def test_an_attempt_is_known_by_its_directory() -> None:
    assert attempt_of("/x/runs/c/a.b/attempt-12") == ("c", "a.b", 12)


def test_events_are_logged_with_what_they_led_to(bench: Bench) -> None:
    bench.submit(a=spec())
    bench.turn(3)
    notes = [row[0] for row in Store(bench.path).rows("SELECT note FROM events ORDER BY id")]
    assert any("submitted" in note for note in notes)
    assert any("attempt 1 starts from nothing on cpu:h:0" in note for note in notes)


def _seen(directory: str) -> Observation:
    return Observation(
        directory=directory,
        launched=True,
        shim=ALIVE,
        trainer=ALIVE,
        locks_held=True,
        same_boot=True,
        pid=PID,
        cursor=Cursor(events=5, watch=7),
    )
