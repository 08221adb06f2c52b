"""Laws of the process that forks shims: each is found as its own attempt, and needs nobody."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign.hosts import identity
from campaign.hosts.identity import Identity
from campaign.hosts.renaming import NO_COOKIE
from campaign.hosts.shims import Came, Shims
from tests.support.hosts import Attempt, Stage, local_host, until

pytestmark = pytest.mark.heavy


@pytest.fixture
def stage(tmp_path: Path, runtime_dir: Path) -> Iterator[Stage]:
    del runtime_dir
    made = Stage(local_host, tmp_path)
    yield made
    made.close()


def forkers() -> list[Identity]:
    """Processes of this one that fork shims."""
    return [
        who
        for who in identity.descendants([os.getpid()])
        if identity.cookie_of(who.pid) == NO_COOKIE
    ]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def test_a_forked_shim_carries_its_own_cookie_and_shows_its_own_attempt(stage: Stage) -> None:
    attempts = [stage.attempt("endures", devices=(f"cpu:here:{n}",)).start() for n in range(2)]
    for attempt in attempts:
        assert identity.cookie_of(attempt.shim.pid) == attempt.launch.cookie
        assert command_line(attempt.shim.pid).endswith(f"\0{attempt.files.root}")
    assert len({attempt.shim.pid for attempt in attempts}) == 2


def test_shims_go_on_when_what_forked_them_is_killed_and_another_takes_its_place(
    stage: Stage,
) -> None:
    first = stage.attempt("endures", devices=("cpu:here:0",)).start()
    shim, before = first.shim, forkers()
    for forker in before:
        identity.send(forker, signal.SIGKILL)
    second = stage.attempt("endures", devices=("cpu:here:1",)).start()
    assert identity.is_alive(shim)
    assert identity.is_alive(second.shim)
    assert not set(before) & set(forkers())


def test_what_forks_shims_ends_with_its_host_and_the_shims_do_not(
    tmp_path: Path, runtime_dir: Path
) -> None:
    del runtime_dir
    stage = Stage(local_host, tmp_path)
    before = set(forkers())
    attempt = stage.attempt("endures").start()
    shim, files = attempt.shim, attempt.files
    mine = set(forkers()) - before
    assert mine
    del attempt.host
    stage._hosts.clear()
    gc.collect()
    until(lambda: not any(map(identity.is_alive, mine)), "the forker ended")
    assert identity.is_alive(shim)
    assert files.pid.exists()
    stage.close()


def test_a_cookie_that_there_is_no_room_for_starts_nothing_and_says_why(stage: Stage) -> None:
    attempt: Attempt = stage.attempt("endures")
    attempt.files.root.mkdir(parents=True)
    with attempt.files.log.open("ab") as log:
        came = Shims(sys.executable).start(
            attempt.files.root, "too short", log.fileno(), deadline=20.0
        )
    assert came is Came.DOWN
    assert "is no cookie" in attempt.files.log.read_text()
    assert not attempt.files.pid.exists()
