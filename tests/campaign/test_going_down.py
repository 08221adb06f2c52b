"""Law: `campaign down` ends what is the plane's, nothing else, and says what it could not end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from campaign import control, leftovers
from campaign import events as e
from campaign.api import Client
from campaign.cli.main import main
from campaign.daemon import announce, hold_home
from campaign.errors import ExitCode
from campaign.going_down import Down, Unstopped, held_runs, waits_for
from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from specs.files import write_json
from tests.campaign.homes import fill
from tests.campaign.worlds import World, spec

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
DEAF = Path(__file__).parents[1] / "support" / "deaf_controller.py"

Spawn = Callable[..., Identity]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a process that sleeps; it is there when this returns, and gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(program: str = SLEEPER) -> Identity:
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(child)
        assert child.stdout is not None
        begin.said = child.stdout.readline().decode().strip()  # type: ignore[attr-defined]
        found = identity.of(child.pid)
        assert found is not None
        return found

    yield begin
    for child in started:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(root=tmp_path / "home")
    made.create()
    return made


def record_ray(home: Home, *processes: Identity) -> None:
    head = [{**p.to_json(), "cookie": None} for p in processes]
    write_json(
        home.ray_file,
        {"schema": 1, "address": "a:1", "temp_dir": "/t", "processes": head, "vital": head},
    )


def test_down_ends_ray_link_and_publisher_of_a_killed_controller_and_nobody_else(
    home: Home, spawn: Spawn
) -> None:
    bystander, link, publisher = spawn(), spawn(), spawn()
    raylet = spawn(PARENT)
    worker = identity.of(int(spawn.said))  # type: ignore[attr-defined]
    assert worker is not None
    write_json(home.link_file, link.to_json())
    write_json(home.publisher_file, publisher.to_json())
    record_ray(home, raylet)  # its worker came later and is not on record
    done = Client(home.root).down()
    assert done.controller is None
    assert [what.split(" (")[0] for what in done.ended] == ["the Ray link", "Ray", "the publisher"]
    assert not any(map(identity.is_alive, (link, publisher, raylet, worker)))
    assert identity.is_alive(bystander)
    assert Client(home.root).down() == Down(controller=None)


def test_a_pid_that_is_somebody_elses_now_is_not_signalled(home: Home, spawn: Spawn) -> None:
    stranger = spawn()
    stale = Identity(
        boot_id=stranger.boot_id, pid=stranger.pid, start_ticks=stranger.start_ticks - 1
    )
    for path in (home.link_file, home.publisher_file):
        write_json(path, stale.to_json())
    record_ray(home, stale)
    assert Client(home.root).down() == Down(controller=None)
    assert identity.is_alive(stranger)


def test_what_a_living_controller_tends_is_not_left_over(home: Home, spawn: Spawn) -> None:
    publisher = spawn()
    write_json(home.publisher_file, publisher.to_json())
    with hold_home(home):
        assert leftovers.end(home) == ()
    assert identity.is_alive(publisher)


def test_the_cluster_that_a_killed_controller_had_joined_is_joined_again_to_leave_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[str | None] = []

    def start(_: Home, *, idle_exit: float | None, ray_address: str | None) -> None:
        del idle_exit
        joined.append(ray_address)
        raise InterruptedError

    announce(home, address="head:6379", idle_exit=None, debug=False)
    record = home.controller_file.read_text()
    mine = identity.of(os.getpid())
    assert mine is not None
    home.controller_file.write_text(record.replace(str(mine.start_ticks), "1"))
    monkeypatch.setattr(control, "start", start)
    with pytest.raises(InterruptedError):
        Client(home.root).down()
    assert joined == ["head:6379"]


# ---------------------------------------------------------------- runs that cannot be stopped


def absent() -> World:
    """One run on a host that has stopped answering."""
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.tell(e.HostLost(host="h", reason="no route"))
    return world


@contextmanager
def deaf(home: Home) -> Iterator[None]:
    child = subprocess.Popen([sys.executable, "-P", str(DEAF), str(home.root)])
    try:
        until = time.monotonic() + 30
        while control.running(home) is None and time.monotonic() < until:
            time.sleep(0.02)
        yield
    finally:
        child.kill()
        child.wait()


@pytest.mark.heavy
def test_down_says_for_what_and_how_long_it_waits_and_which_run_it_could_not_stop(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home, absent())
    words = ["down", "--stop-runs", "--timeout", "1.5", "--home", str(home.root)]
    monkeypatch.setattr(sys, "argv", ["campaign", *words])
    with deaf(home), pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == ExitCode.PARTLY_DONE
    assert "waiting for 1 run to stop: c/a on h: its host has not answered for" in said.err
    assert " s at most" in said.err
    assert "not stopped: c/a on h: its host has not answered for" in said.out
    assert "the controller has ended" in said.out


@pytest.mark.heavy
def test_down_with_nothing_to_stop_does_not_wait(home: Home) -> None:
    world = World(a=spec())
    world.tick()
    world.exits("a")
    fill(home, world)
    with deaf(home):
        done = Client(home.root).down(stop_runs=True, timeout=30.0)
    assert done.controller is not None
    assert done.unstopped == ()


def test_a_run_holds_up_the_end_until_its_device_is_given_back(home: Home) -> None:
    world = World(a=spec(), b=spec())
    world.tick()
    world.see("a")
    world.exits("b")
    fill(home, world)
    assert [run.run for run in held_runs(home, since=time.time())] == ["c/a"]
    (left,) = held_runs(home, since=time.time())
    assert "has not heard" in left.why


def test_one_line_names_what_is_waited_for() -> None:
    runs = [Unstopped(run=f"c/r{n}", host="h", why="it may save") for n in range(7)]
    assert waits_for([]) == ""
    assert waits_for(runs[:1]) == "waiting for 1 run to stop: c/r0 on h: it may save"
    assert waits_for(runs).startswith("waiting for 7 runs to stop: c/r0")
    assert waits_for(runs).endswith("; and 2 more")
