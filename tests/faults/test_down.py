"""After a kill of the controller `campaign down` alone ends what it had started, and with a word the runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from campaign import ray_head
from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from tests.faults.plane import Plane, await_that, kill, plane, script

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(280)]

ENDLESS = """#!/usr/bin/env python3
import signal, time
signal.signal(signal.SIGTERM, lambda *_: exit(0))
print("up", flush=True)
while True:
    time.sleep(0.1)
"""


def begin(made: Plane, where: Path) -> Identity:
    """One run, whose trainer runs; the plane is whole."""
    program = script(where, "endless.py", ENDLESS)
    path = where / "c.yaml"
    path.write_text(
        f"campaign: c\nruns: {{a: {{trainer: {{kind: command, argv: [{program}]}}}}}}\n"
    )
    made.client.submit(path)
    log = made.files("c", "a").log
    await_that("the trainer runs", lambda: log.exists() and "up" in log.read_text())
    await_that("the publisher is up", made.publisher)
    trainer = made.trainer("c", "a")
    assert trainer is not None
    return trainer


def test_down_without_a_controller_ends_the_plane_and_down_stop_runs_then_the_runs(
    tmp_path: Path,
) -> None:
    with plane(tmp_path / "home") as made:
        trainer = begin(made, tmp_path)
        publisher, ray = made.publisher(), made.ray()
        kill(made.controller())
        done = made.client.down()
        assert done.controller is None
        assert {what.split(" (")[0] for what in done.ended} >= {"Ray", "the publisher"}
        assert publisher is not None
        assert not any(map(identity.is_alive, (publisher, *ray)))
        assert with_token_of(made.home) == []
        assert not made.home.ray_file.exists()
        assert identity.is_alive(trainer), "trainers go on"
        assert made.run("a").status == "active"
        stopped = made.client.down(stop_runs=True)
        assert stopped.unstopped == ()
        assert not identity.is_alive(trainer)
        assert (made.run("a").status, made.run("a").result) == ("done", "cancelled")


def test_a_ray_that_was_just_starting_when_its_controller_died_is_ended_too(tmp_path: Path) -> None:
    with plane(tmp_path / "home") as made:
        made.client.up()
        await_that("Ray is coming up", made.home.ray_file.exists)
        head = ray_head.recorded(made.home)
        assert head is not None
        assert not ray_head.is_alive(head), "it is on record before it is whole"
        kill(made.controller())
        made.client.down()
        assert with_token_of(made.home) == []


def with_token_of(home: Home) -> list[str]:
    """Processes that were started with the token of this home: its link and everything of its Ray."""
    wanted = f"RAY_AUTH_TOKEN_PATH={home.ray_token}\0".encode()
    found = []
    for pid in identity.pids():
        try:
            environment = (identity.PROC / str(pid) / "environ").read_bytes()
        except OSError:  # it has just ended, or is another user's
            continue
        who = identity.of(pid)
        if wanted in environment + b"\0" and who is not None:
            found.append((identity.PROC / str(pid) / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_the_head_listens_on_the_port_of_the_configuration(tmp_path: Path, free_port: int) -> None:
    with plane(tmp_path / "home") as made:
        made.home.create()
        made.home.config.write_text(f"[ray]\nport = {free_port}\n")
        made.client.up()
        await_that("Ray is up", lambda: (h := ray_head.recorded(made.home)) and h.address)
        head = ray_head.recorded(made.home)
        assert head is not None
        assert head.address.endswith(f":{free_port}")
        socket.create_connection(("127.0.0.1", free_port), timeout=5.0).close()


def test_a_port_that_somebody_else_has_is_named_with_the_setting(
    tmp_path: Path, free_port: int
) -> None:
    home = Home(root=tmp_path)
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(ray_head.RayTrouble, match=f"port {free_port} .* ray.port"),
    ):
        ray_head.start(home, {}, port=free_port)
    assert not home.ray_file.exists()
