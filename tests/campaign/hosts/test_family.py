from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from campaign.hosts import child, family, identity
from campaign.hosts.child import Child, NotSpawned
from campaign.hosts.identity import Delivery, Identity
from campaign.hosts.records import LaunchRecord
from specs.files import AttemptFiles
from tests.support.hosts import DEADLINE

LAUNCH = LaunchRecord(
    campaign="c",
    run="r",
    attempt=1,
    host="h",
    cookie="abc",
    argv=(sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"),
    cwd="/",
    env={},
    devices=(),
    locks={},
    socket="/none",
    grace=1.0,
)


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Child]:
    running = child.spawn(LAUNCH, AttemptFiles(root=tmp_path), ())
    yield running
    if not running.exited():
        running.signal(signal.SIGKILL)
    running.reap()


def test_a_trainer_that_ended_keeps_its_pid_until_it_is_reaped(tmp_path: Path) -> None:
    running = child.spawn(LAUNCH, AttemptFiles(root=tmp_path), ())
    assert not running.exited()
    assert running.signal(signal.SIGTERM) is Delivery.DELIVERED
    assert identity.wait_gone(running.identity, DEADLINE)
    assert running.exited()
    assert identity.stat(running.identity.pid) is not None
    assert running.signal(signal.SIGKILL) is Delivery.GONE
    departed = running.reap()
    assert (departed.exit_code, departed.signal) == (None, signal.SIGTERM)


def test_a_kernel_that_cannot_signal_a_group_by_descriptor_still_has_its_group_killed(
    trainer: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_groups(*_: object, **__: object) -> Delivery:
        return Delivery.UNSUPPORTED

    monkeypatch.setattr(identity, "send_through", without_groups)
    assert trainer.kill_group() is Delivery.DELIVERED
    monkeypatch.undo()
    assert identity.wait_gone(trainer.identity, DEADLINE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"argv": ("/no/such/program",)}, "/no/such/program cannot be executed"),
        ({"argv": ("/etc",)}, "/etc cannot be executed"),
        ({"cwd": "/no/such/place"}, "working directory /no/such/place cannot be used"),
    ],
)
def test_what_cannot_be_executed_is_said(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(NotSpawned, match=reason):
        child.spawn(replace(LAUNCH, **change), AttemptFiles(root=tmp_path), ())  # type: ignore[arg-type]


def test_a_process_that_does_not_die_is_described_by_its_state(trainer: Child) -> None:
    who = trainer.identity
    assert f"process {who.pid} (python" in family.describe(who)
    assert family.describe(replace(who, start_ticks=1)) == f"process {who.pid} is gone"


@pytest.mark.parametrize(
    ("state", "advice"), [("D", "uninterruptible sleep (D) in"), ("T", "is in state T")]
)
def test_only_an_uninterruptible_sleep_calls_for_a_reboot(
    trainer: Child, monkeypatch: pytest.MonkeyPatch, state: str, advice: str
) -> None:
    found = identity.stat(trainer.identity.pid)
    assert found is not None
    monkeypatch.setattr(identity, "stat", lambda _: replace(found, state=state))
    text = family.describe(trainer.identity)
    assert advice in text
    assert ("reboot" in text) == (state == "D")


def test_the_survivors_of_a_cookie_are_nobody_else() -> None:
    bystander = subprocess.Popen(LAUNCH.argv, env={"CAMPAIGN_ATTEMPT": "another"})
    try:
        who = identity.of_child(bystander.pid, "abc")
        survivors = family.Survivors("abc", who)
        assert not survivors.leader_alive()
        assert survivors.terminate_leader() is Delivery.OTHER
        assert survivors.kill_group() is Delivery.OTHER
        assert survivors.members() == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_without_a_leader_there_is_nobody_to_ask() -> None:
    survivors = family.Survivors("nobody has this", None)
    assert survivors.terminate_leader() is survivors.kill_group() is Delivery.GONE
    assert not survivors.leader_alive()


def test_a_record_of_an_earlier_boot_means_nobody() -> None:
    earlier = Identity(boot_id="earlier", pid=1, start_ticks=1, cookie=None)
    assert not family.Survivors("nobody has this", earlier).leader_alive()
