"""Laws of the client: what is acknowledged is there, a name means one content, nothing is guessed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from campaign import control
from campaign.api import Client
from campaign.config import ConfigError
from campaign.errors import ControllerDown, ExitCode, NoCheckpoint, NotFound, TimedOut, WrongState
from campaign.going_down import Down
from campaign.home import Home
from campaign.store import Store
from campaign.submitting import OtherContent
from specs.run import CampaignSpec, RunSpec
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "runs")


def _spec(**runs: RunSpec) -> CampaignSpec:
    return CampaignSpec(campaign="c", runs=runs or {"a": spec(), "b": spec()})


def _requests(client: Client) -> list[tuple[str, Any]]:
    store = Store(client.home.store)
    try:
        return [(request.kind, request.payload) for request in store.open_requests()]
    finally:
        store.close()


def _filled(client: Client, world: World) -> None:
    fill(client.home, world)


# ---------------------------------------------------------------- submitting


def test_a_submit_is_in_the_store_when_it_returns(client: Client) -> None:
    made = client.submit(_spec(), start=False)
    ((kind, payload),) = _requests(client)
    assert (kind, made.attached) == ("submit", False)
    assert payload["campaign"]["name"] == "c"
    assert list(json.loads(payload["runs"])) == ["a", "b"]


def test_the_same_content_attaches(client: Client) -> None:
    client.submit(_spec(), start=False)
    assert client.submit(_spec(), start=False).attached
    assert len(_requests(client)) == 1


def test_other_content_under_the_same_name_is_refused_with_the_difference(client: Client) -> None:
    client.submit(_spec(a=spec(priority=1)), start=False)
    with pytest.raises(OtherContent) as error:
        client.submit(_spec(a=spec(priority=2), b=spec()), start=False)
    assert error.value.exit_code == ExitCode.WRONG_STATE
    assert "runs.a.priority: 1 -> 2" in str(error.value)
    assert "runs.b: absent -> present" in str(error.value)
    assert "--as NAME" in str(error.value)
    assert len(_requests(client)) == 1


def test_content_of_a_version_that_knew_fewer_settings_is_the_same_content(client: Client) -> None:
    client.submit(_spec(), start=False)
    ((_, payload),) = _requests(client)
    runs = json.loads(payload["runs"])
    for run in runs.values():
        del run["retry"]
    payload["runs"] = json.dumps(runs)
    payload["campaign"]["spec_hash"] = "0" * 64
    with sqlite3.connect(client.home.store) as store:
        store.execute("UPDATE requests SET payload = ?", (json.dumps(payload),))
    assert client.submit(_spec(), start=False).attached
    with pytest.raises(OtherContent):
        client.submit(_spec(a=spec(priority=5)), start=False)


def test_a_campaign_that_the_controller_has_taken_is_compared_too(client: Client) -> None:
    world = World(a=spec())
    _filled(client, world)
    with pytest.raises(OtherContent):
        client.submit(_spec(a=spec(priority=5)), start=False)


def test_of_submits_at_once_one_is_taken_and_the_others_attach(client: Client) -> None:
    client.home.create()
    Store(client.home.store).close()
    attached: list[bool] = []

    def submit() -> None:
        attached.append(Client(client.home.root).submit(_spec(), start=False).attached)

    threads = [threading.Thread(target=submit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(attached) == [False, True, True, True, True, True]


def test_another_name_is_another_campaign(client: Client) -> None:
    client.submit(_spec(), start=False)
    assert client.submit(_spec(), as_name="d", start=False).campaign == "d"
    assert [row.name for row in client.campaigns()] == ["d", "c"]


def test_a_plan_writes_nothing(client: Client) -> None:
    plan = client.plan(_spec())
    assert [run.run for run in plan.runs] == ["a", "b"]
    assert not client.home.root.exists()


@pytest.mark.heavy
def test_a_submit_whose_process_is_killed_once_it_said_so_is_there(
    client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text('{campaign: c, runs: {a: {trainer: {kind: command, argv: ["true"]}}}}')
    for number in range(5):
        words = ["submit", str(file), "--no-start", "--as", f"c{number}"]
        submit = subprocess.Popen(
            [sys.executable, "-m", "campaign.cli.main", "--home", str(client.home.root), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert submit.stdout is not None
        acknowledged = submit.stdout.readline()
        os.kill(submit.pid, signal.SIGKILL)
        submit.wait()
        submit.stdout.close()
        assert acknowledged == f"submitted c{number}: 1 run\n".encode()
        assert f"c{number}" in [row.name for row in client.campaigns()]


# ---------------------------------------------------------------- orders


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    """A controller that answers every request with its kind, at once."""

    def start(home: Home, **_: object) -> None:
        store = Store(home.store)
        for request in store.open_requests():
            store.commit((), (), 1.0, kind="x", answer=(request.id, f"{request.kind}: ok"))
        store.close()

    monkeypatch.setattr(control, "start", start)


@pytest.mark.usefixtures("answering")
def test_orders_become_requests_and_bring_their_answers(client: Client) -> None:
    world = World(a=spec(), b=spec())
    world.tick()
    world.see("a")
    _filled(client, world)
    assert client.cancel("a") == ["stop: ok"]
    assert client.kill("c/b") == ["stop: ok"]
    store = Store(client.home.store)
    payloads = [json.loads(p) for (p,) in store.rows("SELECT payload FROM requests ORDER BY id")]
    assert [(p["runs"], p["kill"]) for p in payloads] == [
        ([["c", "a"]], False),
        ([["c", "b"]], True),
    ]


@pytest.mark.usefixtures("answering")
def test_a_run_that_is_named_twice_is_stopped_once(client: Client) -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    _filled(client, world)
    client.cancel("a", "c/a")
    store = Store(client.home.store)
    ((payload,),) = store.rows("SELECT payload FROM requests")
    assert json.loads(payload)["runs"] == [["c", "a"]]


@pytest.mark.usefixtures("answering")
def test_a_run_that_is_done_cannot_be_stopped(client: Client) -> None:
    world = World(a=spec())
    world.tick()
    world.exits("a")
    _filled(client, world)
    with pytest.raises(WrongState, match="done already: succeeded"):
        client.cancel("a")
    assert _requests(client) == []


@pytest.mark.usefixtures("answering")
def test_only_a_run_that_is_done_is_resumed_and_only_from_what_is_there(client: Client) -> None:
    world = World(a=spec(retry={"crashes": 0}), b=spec(), w=spec())
    world.tick()
    world.exits("a", 3)
    _filled(client, world)
    with pytest.raises(WrongState, match="active"):
        client.resume("b")
    with pytest.raises(NoCheckpoint) as error:
        client.resume("a")
    assert error.value.exit_code == ExitCode.NO_CHECKPOINT
    with pytest.raises(NoCheckpoint, match="no checkpoint of step 7"):
        client.resume("a", origin=7)
    assert client.resume("a", origin="scratch") == "resume: ok"


def test_a_request_that_nobody_takes_is_kept_and_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "start", lambda home, **_: None)
    monkeypatch.setattr("campaign.asking.ANSWER_DEADLINE", 0.0)
    world = World(a=spec())
    _filled(client, world)
    with pytest.raises(ControllerDown, match="kept"):
        client.cancel("a")
    assert [kind for kind, _ in _requests(client)] == ["stop"]


def test_a_quarantine_that_is_not_there_cannot_be_lifted(client: Client) -> None:
    with pytest.raises(NotFound, match="no device"):
        client.release("GPU-1")


# ---------------------------------------------------------------- waiting and the controller


def test_waiting_ends_when_all_runs_are_done(client: Client) -> None:
    world = World(a=spec(), b=spec())
    world.tick()
    world.exits("a")
    world.exits("b", 3, events=({"event": "failed", "class": "non_finite", "message": "NaN"},))
    _filled(client, world)
    assert [row.result for row in client.wait("c")] == ["succeeded", "failed"]


def test_waiting_ends_when_its_time_is_over(client: Client) -> None:
    client.submit(_spec(), start=False)
    with pytest.raises(TimedOut) as error:
        client.wait("c", timeout=0.0)
    assert error.value.exit_code == ExitCode.TIMEOUT


def test_down_without_a_controller_is_done_already(client: Client) -> None:
    client.submit(_spec(), start=False)
    assert client.down() == Down(controller=None)
    assert [kind for kind, _ in _requests(client)] == ["submit"]


@pytest.mark.heavy
def test_a_controller_that_does_not_come_up_shows_the_end_of_its_log(client: Client) -> None:
    client.home.create()
    client.home.store.write_bytes(b"no database" * 500)
    with pytest.raises(ControllerDown) as error:
        client.up()
    assert error.value.exit_code == ExitCode.CONTROLLER_DOWN
    assert "cannot be read" in str(error.value)
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("verb", ["up", "start"])
def test_no_controller_is_started_with_a_configuration_that_cannot_be_read(
    client: Client, verb: str
) -> None:
    client.home.create()
    client.home.config.write_text("[gpus]\nexclude = 3\n")
    with pytest.raises(ConfigError, match=r"campaign\.toml:2: gpus\.exclude"):
        getattr(client, verb)()
    assert not client.home.controller_log.exists()


def test_a_controller_that_is_gone_is_not_taken_for_running(client: Client) -> None:
    from campaign.daemon import announce

    client.home.create()
    announce(client.home, address=None, idle_exit=None, debug=False)
    found = client.controller()
    assert found is not None
    record = json.loads(client.home.controller_file.read_text())
    stale = {**record, "start_ticks": record["start_ticks"] + 1}  # the pid is another process now
    client.home.controller_file.write_text(json.dumps(stale))
    assert client.controller() is None
