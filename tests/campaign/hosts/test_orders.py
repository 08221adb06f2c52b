from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from campaign.hosts import identity, orders
from campaign.hosts.bell import Bell, ring
from campaign.hosts.identity import Identity
from campaign.hosts.orders import FileKiller
from campaign.hosts.port import OrderAction
from campaign.hosts.records import LaunchRecord, PidRecord
from specs.files import AttemptFiles, read_json, write_json
from tests.support.hosts import order, until

DEAD = -1


@pytest.fixture
def cookie() -> str:
    return secrets.token_hex(16)


@pytest.fixture
def trainer(cookie: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"],
        env={"CAMPAIGN_ATTEMPT": cookie},
    )
    until(lambda: identity.cookie_of(process.pid), "it was executed")
    yield process
    process.kill()
    process.wait()


def attempt(
    root: Path, cookie: str, *, shim: Identity, trainer: subprocess.Popen[bytes] | None = None
) -> AttemptFiles:
    """The files of an attempt whose shim and trainer are these processes."""
    files = AttemptFiles(root=root)
    launch = LaunchRecord(
        campaign="c",
        run="r",
        attempt=1,
        host="h",
        cookie=cookie,
        argv=("true",),
        cwd="/",
        env={},
        devices=(),
        locks={},
        socket=str(root / "s"),
        grace=5.0,
    )
    write_json(files.launch, launch.to_json())
    who = None if trainer is None else identity.of_child(trainer.pid, cookie)
    write_json(files.pid, PidRecord(attempt=1, cookie=cookie, shim=shim, trainer=who).to_json())
    return files


def dead_shim() -> Identity:
    return Identity(boot_id=identity.boot_id(), pid=2**22, start_ticks=1)


def live_shim() -> Identity:
    return identity.of_child(os.getpid(), "")


def test_an_order_says_whom_it_means(
    tmp_path: Path, cookie: str, trainer: subprocess.Popen[bytes]
) -> None:
    files = attempt(tmp_path, cookie, shim=live_shim(), trainer=trainer)
    assert orders.give(files, order(rule="blow_up", grace=2.5)) == 1
    written = read_json(files.order(1))
    assert written is not None
    assert (written["cookie"], written["attempt"]) == (cookie, 1)
    assert written["trainer"]["pid"] == trainer.pid
    assert (written["action"], written["rule"], written["grace"]) == ("stop", "blow_up", 2.5)


def test_there_is_nothing_to_order_where_nothing_was_launched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no attempt to order"):
        orders.give(AttemptFiles(root=tmp_path), order())


def test_an_order_rings_the_shim(tmp_path: Path, cookie: str) -> None:
    files = attempt(tmp_path, cookie, shim=live_shim())
    bell = Bell(tmp_path / "s")
    assert not bell.answer()
    thread = threading.Thread(target=orders.give, args=(files, order()))
    thread.start()
    until(bell.answer, "it rang")
    thread.join()
    bell.close()
    assert not (tmp_path / "s").exists()


def test_to_ring_where_nobody_listens_is_no_error(tmp_path: Path) -> None:
    ring(tmp_path / "nobody")


def test_a_killer_under_a_live_shim_only_orders(
    tmp_path: Path, cookie: str, trainer: subprocess.Popen[bytes]
) -> None:
    files = attempt(tmp_path, cookie, shim=live_shim(), trainer=trainer)
    FileKiller()(tmp_path, order())
    assert files.order(1).exists()
    assert not any(t.name.startswith("reap") for t in threading.enumerate())
    assert trainer.poll() is None


def test_a_killer_over_a_dead_shim_runs_the_ladder_without_holding_up_the_watcher(
    tmp_path: Path, cookie: str, trainer: subprocess.Popen[bytes]
) -> None:
    files = attempt(tmp_path, cookie, shim=dead_shim(), trainer=trainer)
    kill = FileKiller()
    kill(tmp_path, order(by="watcher", rule="blow_up"))
    kill(tmp_path, order(by="watcher", rule="blow_up"))
    record = until(lambda: read_json(files.exit), "it was reaped")
    assert (record["written_by"], record["order"]["rule"]) == ("reaper", "blow_up")
    assert trainer.wait(10.0) == -15


def test_an_order_for_a_checkpoint_never_reaps(
    tmp_path: Path, cookie: str, trainer: subprocess.Popen[bytes]
) -> None:
    attempt(tmp_path, cookie, shim=dead_shim(), trainer=trainer)
    FileKiller()(tmp_path, order(action=OrderAction.CHECKPOINT))
    assert not any(t.name.startswith("reap") for t in threading.enumerate())
    assert trainer.poll() is None
