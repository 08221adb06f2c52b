"""What every host promises, shown on real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from campaign.errors import CampaignError
from campaign.gpus.probe import DeviceKind
from campaign.hosts import failpoints, identity
from campaign.hosts.port import Cursor, Liveness, OrderAction
from campaign.hosts.shims import Came, Shims
from specs.files import (
    MANIFEST,
    AttemptFiles,
    append_line,
    digest,
    make_manifest,
    verify_manifest,
    write_json,
)
from tests.support.hosts import GPU, Attempt, Stage, gpu_report, is_free, nobody_carries, until
from trainers.retention import read_wanted

pytestmark = pytest.mark.heavy


# ---------------------------------------------------------------- how it ends by itself


@pytest.mark.parametrize("code", [0, 3, 143])
def test_a_trainer_that_ends_by_itself_leaves_its_exit_code(stage: Stage, code: int) -> None:
    record = stage.attempt("exits", str(code)).start().ended()
    assert (record["outcome"], record["exit_code"], record["signal"]) == ("exited", code, None)
    assert record["order"] is None
    assert record["failure_class"] is None
    assert record["ended_at"] >= record["started_at"]
    assert record["max_rss_bytes"] > 2**20


def test_a_trainer_that_is_killed_from_outside_leaves_its_signal(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    [trainer] = attempt.who("trainer")
    identity.send(trainer, signal.SIGKILL)
    record = attempt.ended()
    assert (record["exit_code"], record["signal"], record["order"]) == (None, 9, None)


def test_workers_that_a_trainer_leaves_behind_are_swept(stage: Stage) -> None:
    attempt = stage.attempt("abandons").start()
    [worker] = attempt.who("worker")
    record = attempt.ended()
    assert record["exit_code"] == 0
    assert record["swept"] == [worker.pid]
    assert not identity.is_alive(worker)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"argv": ("/no/such/program",)}, "/no/such/program cannot be executed"),
        ({"cwd": "/no/such/directory"}, "/no/such/directory cannot be used"),
    ],
)
def test_a_trainer_that_cannot_be_executed_could_not_start(
    stage: Stage, fields: dict[str, Any], reason: str
) -> None:
    record = stage.attempt("endures", **fields).start().ended()
    assert record["outcome"] == record["failure_class"] == "could_not_start"
    assert reason in record["detail"]


def test_a_trainer_that_outlives_its_limit_is_ended_by_its_shim(stage: Stage) -> None:
    record = stage.attempt("saves", timeout=0.3).start().ended()
    assert record["failure_class"] == "timeout"
    assert record["order"]["by"] == "shim"


def test_a_shim_that_is_told_to_end_lets_its_trainer_save_first(stage: Stage) -> None:
    attempt = stage.attempt("saves").start()
    attempt.who("trainer")
    identity.send(attempt.shim, signal.SIGTERM)
    record = attempt.ended()
    assert (record["exit_code"], record["failure_class"]) == (0, "preempted")
    assert attempt.notes() == ["saved"]


# ---------------------------------------------------------------- what it starts as


def test_a_trainer_finds_its_own_environment_and_nothing_of_the_host(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_ID", "1")
    attempt = stage.attempt("shows", spec={"start": {"checkpoint": "/some/step-5"}}).start()
    attempt.ended()
    shown = json.loads(attempt.files.log.read_text())
    assert {k: v for k, v in shown["environment"].items() if k != "LC_CTYPE"} == {
        **attempt.launch.env,
        "CAMPAIGN_ATTEMPT": attempt.launch.cookie,
        "CAMPAIGN_METRICS": str(attempt.files.metrics),
        "CAMPAIGN_CHECKPOINT_DIR": str(attempt.files.checkpoints),
        "CAMPAIGN_RESUME_FROM": "/some/step-5",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "",
    }
    assert (shown["cwd"], shown["stdin"]) == (attempt.launch.cwd, "/dev/null")
    assert shown["umask"] == 0o077
    assert shown["leads_its_group"]


def test_what_a_host_inherited_is_undone(stage: Stage) -> None:
    """As under a Ray worker: SIGINT blocked, SIGHUP ignored, another niceness."""
    attempt = stage.attempt("shows")
    spoiled = "signal.pthread_sigmask(signal.SIG_BLOCK, [2]); os.nice(3); signal.signal(1, 1)"
    _start_elsewhere(stage, attempt, before=spoiled).wait()
    attempt.ended()
    shown = json.loads(attempt.files.log.read_text())
    stayed = attempt.seen().pid["not_reset"]  # type: ignore[index]
    assert shown["blocked"] == shown["ignored"] == []
    assert shown["nice"] == 0 or any("niceness" in reason for reason in stayed)


def test_the_files_say_what_was_launched(stage: Stage) -> None:
    attempt = stage.attempt("exits", "0").start()
    attempt.ended()
    assert json.loads(attempt.files.spec.read_text()) == attempt.launch.spec
    assert json.loads(attempt.files.env.read_text()) == attempt.launch.env
    private = [p.name for p in attempt.files.root.iterdir() if p.stat().st_mode & 0o077]
    assert private == []


# ---------------------------------------------------------------- orders


def test_an_order_to_stop_lets_the_trainer_save(stage: Stage) -> None:
    attempt = stage.attempt("saves").start()
    attempt.who("trainer")
    attempt.order(by="watcher", rule="blow_up", reason="val/ce rose", evidence={"v": float("inf")})
    record = attempt.ended()
    assert attempt.notes() == ["saved"]
    assert record["exit_code"] == 0
    assert record["order"] == {
        "key": "k",
        "action": "stop",
        "by": "watcher",
        "reason": "val/ce rose",
        "rule": "blow_up",
    }
    kill = attempt.seen().kill
    assert kill is not None
    assert kill["outcome"] == "gone"
    assert [rung["rung"] for rung in kill["rungs"]] == ["term", "grace"]
    assert kill["term_at"] <= record["ended_at"]


def test_a_trainer_that_ignores_sigterm_is_killed_after_its_grace(stage: Stage) -> None:
    attempt = stage.attempt("ignores", grace=0.2).start()
    attempt.who("trainer")
    attempt.order()
    record = attempt.ended()
    assert record["signal"] == 9
    kill = attempt.seen().kill
    assert kill is not None
    assert [rung["rung"] for rung in kill["rungs"]] == ["term", "grace", "kill"]


def test_a_second_order_shortens_the_grace_and_the_first_stays_the_reason(stage: Stage) -> None:
    attempt = stage.attempt("ignores", grace=600.0).start()
    attempt.who("trainer")
    attempt.order(key="cancel")
    until(lambda: attempt.seen().kill, "the ladder began")
    attempt.order(key="kill", grace=0.0)
    assert attempt.ended()["order"]["key"] == "cancel"


def test_an_attempt_that_is_stopped_before_its_trainer_starts_never_starts_it(
    stage: Stage,
) -> None:
    answer = stage.root / "answer"
    os.mkfifo(answer)  # the probe waits until somebody writes into it
    attempt = stage.attempt("endures", report=answer, devices=(GPU,)).start()
    attempt.order()
    report = gpu_report(stage.root / "gpus.json").read_text()
    answer.write_text(report)
    record = attempt.ended()
    assert (record["outcome"], record["exit_code"], record["signal"]) == ("exited", None, None)
    assert record["order"]["by"] == "user"
    assert not (attempt.work / "who").exists()


def test_the_same_order_twice_is_one_order(stage: Stage) -> None:
    attempt = stage.attempt("saves").start()
    attempt.who("trainer")
    for _ in range(3):
        attempt.order(key="save", action=OrderAction.CHECKPOINT)
    until(attempt.notes, "a checkpoint was asked for")
    attempt.order(key="end")
    attempt.ended()
    assert attempt.notes() == ["checkpoint", "saved"]
    assert len(attempt.files.orders()) == 2


def test_two_files_of_the_same_key_are_carried_out_once(stage: Stage) -> None:
    """Two writers may have numbered the same order at the same moment."""
    attempt = stage.attempt("saves").start()
    attempt.who("trainer")
    content = {"action": "checkpoint", "by": "watcher", "reason": "r", "key": "save"}
    for number in (1, 2):
        write_json(attempt.files.order(number), {**content, "cookie": attempt.launch.cookie})
    until(lambda: len(_orders_taken(attempt)) == 2, "both were looked at")
    assert [taken["result"] for taken in _orders_taken(attempt)] == ["delivered", "repeated"]


def test_an_order_for_a_checkpoint_never_ends_a_trainer_that_does_not_know_it(
    stage: Stage,
) -> None:
    attempt = stage.attempt("endures").start()
    [trainer] = attempt.who("trainer")
    attempt.order(key="save", action=OrderAction.CHECKPOINT)
    [taken] = until(lambda: _orders_taken(attempt), "the order was taken")
    assert "does not handle SIGUSR1" in taken["result"]
    assert identity.is_alive(trainer)
    assert attempt.seen().kill is None


@pytest.mark.parametrize(
    "change",
    [
        {"cookie": "another"},
        {"trainer": {"pid": 1, "start_ticks": 1}},
        {"shim": {"pid": 1, "start_ticks": 1}},
        {"action": "explode"},
    ],
)
def test_an_order_that_means_somebody_else_is_refused(stage: Stage, change: dict[str, Any]) -> None:
    attempt = stage.attempt("endures").start()
    [trainer] = attempt.who("trainer")
    good = {"key": "a", "action": "stop", "by": "user", "reason": "r"}
    write_json(attempt.files.order(1), {**good, "cookie": attempt.launch.cookie, **change})
    [taken] = until(lambda: _orders_taken(attempt), "the order was looked at")
    assert taken["result"].startswith("refused")
    assert identity.is_alive(trainer)
    assert attempt.seen().kill is None


def _orders_taken(attempt: Attempt) -> list[dict[str, Any]]:
    if not attempt.files.kill.exists():
        return []
    taken: list[dict[str, Any]] = json.loads(attempt.files.kill.read_text())["orders"]
    return taken


def test_the_page_on_files_shows_every_field(stage: Stage) -> None:
    attempt = stage.attempt("forks", "1", grace=0.1).start()
    attempt.who("worker")
    attempt.order()
    attempt.ended()
    page = (Path(__file__).resolve().parents[2] / "docs" / "files.md").read_text()
    files = attempt.files
    for section, path in (
        ("## spec.json, env.json, launch.json", files.launch),
        ("## pid.json", files.pid),
        ("## order-&lt;n&gt;.json", files.order(1)),
        ("## kill.json", files.kill),
        ("## exit.json", files.exit),
    ):
        shown = page.partition(section)[2].partition("```json\n")[2].partition("```")[0]
        assert _names(json.loads(shown)) == _names(json.loads(path.read_text())), section


def _names(record: dict[str, Any]) -> dict[str, set[str]]:
    """The names of the fields, and of the parts of a record that have fields of their own."""
    parts = {k: record[k] for k in ("order", "orders", "rungs", "shim", "trainer") if k in record}
    inner = {k: set(v[0] if isinstance(v, list) else v) for k, v in parts.items()}
    return {"": set(record), **inner}


# ---------------------------------------------------------------- nobody is left, nobody else is hit


@pytest.mark.parametrize(
    ("animal", "arguments", "role", "count"),
    [
        pytest.param("forks", ["1"], "worker", 1, id="a worker"),
        pytest.param("forks", ["40"], "worker", 40, id="forty workers"),
        pytest.param("escapes", ["plain"], "escapee", 1, id="an escapee"),
        pytest.param("escapes", ["bare"], "escapee", 1, id="an escapee without environment"),
    ],
)
def test_a_kill_reaches_the_whole_family(
    stage: Stage, animal: str, arguments: list[str], role: str, count: int
) -> None:
    attempt = stage.attempt(animal, *arguments, grace=0.2).start()
    family = [*attempt.who("trainer"), *attempt.who(role, count)]
    attempt.order()
    record = attempt.ended()
    assert [p for p in family if identity.is_alive(p)] == []
    assert set(record["swept"]) >= {p.pid for p in family[1:]}
    assert nobody_carries(attempt.launch.cookie)


def test_a_decoy_of_the_same_name_is_never_signalled(stage: Stage) -> None:
    decoy, notes = stage.bystander()
    other = stage.attempt("bystander", devices=("cpu:here:1",)).start()
    [neighbour] = other.who("bystander")
    attempt = stage.attempt("bystander", grace=0.2).start()
    attempt.who("bystander")
    attempt.order()
    attempt.ended()
    assert attempt.notes() == [str(int(signal.SIGTERM))]
    for innocent, reached in ((decoy, notes), (neighbour, other.work / "notes")):
        assert identity.is_alive(innocent)
        assert not reached.exists()


@pytest.mark.parametrize("ticks", [-1, 0], ids=["pid was reused", "no cookie"])
def test_a_process_that_is_not_the_one_on_record_is_never_signalled(
    stage: Stage, ticks: int
) -> None:
    """A forged pid.json of a dead shim: the pid is alive, its start or its cookie is another."""
    bystander, notes = stage.bystander()
    attempt = stage.attempt("endures").start()
    attempt.who("trainer")
    attempt.kill_shim()
    forged = dict(json.loads(attempt.files.pid.read_text()))
    forged["trainer"] = {"pid": bystander.pid, "start_ticks": bystander.start_ticks + ticks}
    write_json(attempt.files.pid, forged)
    attempt.reap(grace=0.1)
    assert identity.is_alive(bystander)
    assert not notes.exists()
    kill = attempt.seen().kill
    assert kill is not None
    assert kill["rungs"][0] | {"at": 0} == {
        "rung": "term",
        "at": 0,
        "pids": [],
        "result": "other",
        "detail": "",
    }
    assert nobody_carries(attempt.launch.cookie)  # the real trainer was found by its cookie


# ---------------------------------------------------------------- once, and one a device


def test_a_launch_that_is_started_many_times_at_once_starts_once(stage: Stage) -> None:
    attempt = stage.attempt("endures")
    threads = [threading.Thread(target=attempt.start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    attempt.who("trainer")
    attempt.start()
    attempt.order()
    attempt.ended()
    attempt.start()
    assert len(attempt.who("trainer")) == 1


def test_another_launch_in_the_same_directory_is_refused(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    attempt.who("trainer")
    other = stage.attempt("endures", directory=attempt.launch.directory)
    with pytest.raises(CampaignError, match="another launch"):
        other.start()
    assert not (other.work / "who").exists()


def test_a_device_has_one_trainer_and_the_second_is_told_who_has_it(stage: Stage) -> None:
    first = stage.attempt("endures").start()
    [trainer] = first.who("trainer")
    second = stage.attempt("endures").start()
    record = until(lambda: second.seen().exit, "the second could not start")
    assert record["failure_class"] == "could_not_start"
    assert "device cpu:here:0 is held by another trainer" in record["detail"]
    assert str(first.files.root) in record["detail"]
    assert not (second.work / "who").exists()
    assert identity.is_alive(trainer)


def test_a_device_stays_held_while_a_worker_lives_that_nobody_owns(stage: Stage) -> None:
    attempt = stage.attempt("forks", "1").start()
    [trainer], [worker] = attempt.who("trainer"), attempt.who("worker")
    attempt.kill_shim()
    identity.send(trainer, signal.SIGKILL)
    assert identity.wait_gone(trainer, 5.0)
    seen = attempt.seen()
    assert (seen.shim, seen.trainer, seen.locks_held) == (Liveness.DEAD, Liveness.ALIVE, True)
    late = stage.attempt("endures").start()
    assert until(lambda: late.seen().exit, "refused")["failure_class"] == "could_not_start"
    attempt.reap()
    assert not identity.is_alive(worker)
    assert not attempt.seen().locks_held


def test_cpu_slots_of_two_homes_are_not_the_same_slots(stage: Stage) -> None:
    second_home = stage.new_home("second")
    for home in (stage.home, second_home):
        stage.attempt("endures", home=home).start().who("trainer")


# ---------------------------------------------------------------- GPUs (scripted)


def test_two_homes_cannot_share_a_gpu(stage: Stage) -> None:
    report = gpu_report(stage.root / "gpus.json")
    first = stage.attempt("endures", report=report, devices=(GPU,)).start()
    first.who("trainer")
    second = stage.attempt(
        "endures", report=report, devices=(GPU,), home=stage.new_home("second")
    ).start()
    record = until(lambda: second.seen().exit, "the second could not start")
    assert f"device {GPU} is held by another trainer" in record["detail"]


def test_a_trainer_sees_exactly_its_gpus_and_they_are_free_when_it_is_over(stage: Stage) -> None:
    report = gpu_report(stage.root / "gpus.json")
    attempt = stage.attempt("shows", report=report, devices=(GPU,)).start()
    record = attempt.ended()
    shown = json.loads(attempt.files.log.read_text())
    assert shown["environment"]["CUDA_VISIBLE_DEVICES"] == GPU
    assert shown["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert record["gpu_release"]["ok"] is True


FOREIGN = {"pid": 77, "uid": 4242, "user": "bob", "name": "python", "memory_bytes": 512 * 2**20}


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ({"processes": [FOREIGN]}, f"{GPU} is used by process 77 (python) of user bob, 512 MiB"),
        ({"problem": "GPU is lost"}, "GPU is lost"),
        ({"id": "GPU-other"}, "is not on this host"),
    ],
)
def test_a_gpu_that_is_not_known_to_be_free_is_not_used(
    stage: Stage, device: dict[str, Any], reason: str
) -> None:
    report = gpu_report(stage.root / "gpus.json", **device)
    attempt = stage.attempt("endures", report=report, devices=(GPU,)).start()
    record = attempt.ended()
    assert record["failure_class"] == "could_not_start"
    assert reason in record["detail"]
    assert not (attempt.work / "who").exists()


def test_a_host_describes_its_gpus_and_its_cpu_slots(stage: Stage) -> None:
    report = gpu_report(stage.root / "gpus.json")
    facts = stage.host(report=report).describe()
    kinds = {device.id: device.kind for device in facts.devices.devices}
    assert kinds[GPU] is DeviceKind.GPU
    assert kinds["cpu:here:0"] is DeviceKind.CPU
    assert (facts.host, facts.boot_id) == ("here", identity.boot_id())


# ---------------------------------------------------------------- deaths, and who picks up


def _start_elsewhere(
    stage: Stage, attempt: Attempt, *, before: str = ""
) -> subprocess.Popen[bytes]:
    """Start it from a process of its own, which then waits to be killed."""
    if not stage.shares_home:
        pytest.skip("such a process would start it in the home")
    launch = stage.root / "launch-elsewhere.json"
    launch.write_text(attempt.launch.model_dump_json())
    program = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from campaign.hosts.port import Launch\n"
        "from tests.support.hosts import local_host\n"
        f"{before}\n"
        "launch = Launch.model_validate_json(Path(sys.argv[2]).read_text())\n"
        "local_host(Path(sys.argv[1]), 'here', None).start(launch)\n"
    )
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", program, str(stage.home), str(launch)],
        env={**os.environ, "PYTHONPATH": str(root)},
        start_new_session=True,
    )


def test_a_trainer_outlives_the_group_of_the_process_that_started_it(stage: Stage) -> None:
    attempt = stage.attempt("endures")
    starter = _start_elsewhere(
        stage, attempt, before="import atexit; atexit.register(signal.pause)"
    )
    [trainer] = attempt.who("trainer")
    shim = attempt.shim
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    seen = attempt.seen()  # by a host that never knew it: adoption
    assert (seen.shim, seen.trainer, seen.locks_held) == (Liveness.ALIVE, Liveness.ALIVE, True)
    assert identity.is_alive(shim)
    attempt.order()
    assert attempt.ended()["order"]["by"] == "user"
    assert not identity.is_alive(trainer)


def test_a_shim_is_nobodys_child_and_in_no_session_but_its_own(stage: Stage) -> None:
    """What ends the children, the group or the session of a host does not find it."""
    attempt = stage.attempt("endures").start()
    shim = attempt.shim
    assert os.getsid(shim.pid) == shim.pid
    assert shim.pid not in {who.pid for who in identity.descendants([os.getpid()])}


def test_a_dead_shim_is_seen_and_what_it_left_is_reaped(stage: Stage) -> None:
    attempt = stage.attempt("forks", "2", grace=0.2).start()
    family = [*attempt.who("trainer"), *attempt.who("worker", 2)]
    attempt.kill_shim()
    seen = attempt.seen()
    assert (seen.shim, seen.trainer, seen.locks_held) == (Liveness.DEAD, Liveness.ALIVE, True)
    assert seen.exit is None
    attempt.reap()
    record = attempt.ended()
    assert record["written_by"] == "reaper"
    assert record["order"]["by"] == "controller"
    assert (record["exit_code"], record["signal"]) == (None, None)
    assert [p for p in family if identity.is_alive(p)] == []


def test_a_reaped_trainer_may_save_too(stage: Stage) -> None:
    attempt = stage.attempt("saves").start()
    attempt.who("trainer")
    attempt.kill_shim()
    attempt.reap()
    assert attempt.notes() == ["saved"]


def test_who_had_ordered_the_end_stays_the_reason_when_the_shim_dies_over_it(stage: Stage) -> None:
    attempt = stage.attempt("ignores", grace=600.0).start()
    attempt.who("trainer")
    attempt.order(by="watcher", rule="blow_up", key="w")
    until(lambda: attempt.seen().kill, "the ladder began")
    attempt.kill_shim()
    attempt.reap(key="reap", grace=0.0)
    record = attempt.ended()
    assert (record["order"]["by"], record["order"]["rule"]) == ("watcher", "blow_up")
    kill = attempt.seen().kill
    assert kill is not None
    told = [(r["rung"], r["result"]) for r in kill["rungs"] if r["rung"] == "term"]
    assert told == [("term", "delivered"), ("term", "earlier")]  # one SIGTERM, not two


def test_an_order_that_the_shim_did_not_live_to_read_is_the_reason(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    attempt.who("trainer")
    attempt.kill_shim()
    attempt.order(key="cancel", by="user")
    attempt.reap(key="reap")
    assert attempt.ended()["order"]["key"] == "cancel"


def test_where_shim_and_trainer_are_dead_nothing_is_held_and_nothing_is_claimed(
    stage: Stage,
) -> None:
    attempt = stage.attempt("endures").start()
    [trainer] = attempt.who("trainer")
    attempt.kill_shim()
    identity.send(trainer, signal.SIGKILL)
    assert identity.wait_gone(trainer, 5.0)
    seen = attempt.seen()
    assert (seen.shim, seen.trainer, seen.locks_held) == (Liveness.DEAD, Liveness.DEAD, False)
    assert (seen.exit, seen.same_boot) == (None, True)


def test_to_reap_under_a_live_shim_is_an_order_to_it(stage: Stage) -> None:
    attempt = stage.attempt("saves").start()
    attempt.who("trainer")
    attempt.reap()
    record = attempt.ended()
    assert (record["written_by"], record["exit_code"]) == ("shim", 0)


def test_to_reap_again_does_no_harm(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    attempt.who("trainer")
    attempt.kill_shim()
    attempt.reap()
    before = attempt.files.exit.read_bytes(), attempt.files.kill.read_bytes()
    attempt.reap()
    assert (attempt.files.exit.read_bytes(), attempt.files.kill.read_bytes()) == before


def test_a_record_of_an_earlier_boot_is_of_the_dead(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    attempt.who("trainer")
    shim = attempt.shim
    record = json.loads(attempt.files.pid.read_text())
    write_json(attempt.files.pid, {**record, "boot_id": "earlier"})
    seen = attempt.seen()
    assert (seen.same_boot, seen.shim) == (False, Liveness.DEAD)
    assert identity.is_alive(shim)


# ---------------------------------------------------------------- never started


def test_an_attempt_that_was_proved_unstarted_never_starts(stage: Stage) -> None:
    attempt = stage.attempt("endures")
    assert attempt.host.prove_unstarted(attempt.launch.directory)
    with pytest.raises(CampaignError, match="given up"):
        attempt.start()
    assert attempt.host.prove_unstarted(attempt.launch.directory)


def test_a_shim_that_comes_late_finds_that_it_was_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = stage.attempt("endures")
    monkeypatch.setenv(failpoints.ENV, "before_attempt_lock")
    with pytest.raises(CampaignError, match="died at once"):
        attempt.start()
    monkeypatch.delenv(failpoints.ENV)
    _start_shim_by_hand(attempt)
    assert not attempt.files.pid.exists()
    assert not (attempt.work / "who").exists()


def test_an_attempt_whose_shim_died_has_no_second_life(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    [trainer] = attempt.who("trainer")
    attempt.kill_shim()
    identity.send(trainer, signal.SIGKILL)
    assert identity.wait_gone(trainer, 5.0)
    attempt.start()
    _start_shim_by_hand(attempt)
    assert attempt.seen().trainer is Liveness.DEAD
    assert len(attempt.who("trainer")) == 1


def _start_shim_by_hand(attempt: Attempt) -> None:
    """And wait until it has ended."""
    with attempt.files.log.open("ab") as log:
        came = Shims(sys.executable).start(
            attempt.files.root, attempt.launch.cookie, log.fileno(), deadline=20.0
        )
    assert came is Came.UP
    until(lambda: nobody_carries(attempt.launch.cookie), "the late shim ended")


def test_an_attempt_that_runs_or_ran_is_not_unstarted(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    attempt.who("trainer")
    assert not attempt.host.prove_unstarted(attempt.launch.directory)
    attempt.order()
    attempt.ended()
    assert not attempt.host.prove_unstarted(attempt.launch.directory)


def test_of_an_attempt_that_was_never_launched_nothing_is_true(stage: Stage) -> None:
    seen = stage.attempt("endures").seen()
    assert (seen.launched, seen.shim, seen.trainer) == (False, Liveness.UNBORN, Liveness.UNBORN)
    assert (seen.locks_held, seen.same_boot, seen.pid, seen.exit) == (False, True, None, None)


# ---------------------------------------------------------------- a shim that dies at every edge

BEFORE_RECORD = ("before_attempt_lock", "before_pid")
WITH_ORDER = ("before_term", "after_term", "after_ladder")


@pytest.mark.parametrize("edge", failpoints.EDGES)
def test_wherever_a_shim_dies_the_attempt_comes_to_an_end_and_the_device_is_free(
    stage: Stage, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(failpoints.ENV, edge)
    ends_by_itself = edge.endswith("_exit")
    attempt = stage.attempt(*(("exits", "7") if ends_by_itself else ("ignores",)), grace=0.2)
    if edge in BEFORE_RECORD:
        with pytest.raises(CampaignError, match="died at once"):
            attempt.start()
    else:
        attempt.start()
    if edge in WITH_ORDER:
        attempt.who("trainer")
        attempt.order()
    until(lambda: (attempt.files.root / failpoints.HIT).exists(), f"{edge} was reached")
    monkeypatch.delenv(failpoints.ENV)
    _pick_up(attempt, edge)
    assert nobody_carries(attempt.launch.cookie)
    assert is_free(attempt)
    next_one = stage.attempt("exits", "0").start()
    assert next_one.ended()["exit_code"] == 0


def _pick_up(attempt: Attempt, edge: str) -> None:
    """As the restart table says, from what is seen alone."""
    if attempt.seen().pid is None:
        assert edge in BEFORE_RECORD
        assert attempt.host.prove_unstarted(attempt.launch.directory)
        return
    seen = until(lambda: (s := attempt.seen()).shim is Liveness.DEAD and s, "the shim is dead")
    if seen.exit is not None:
        assert edge == "after_exit"
        assert seen.exit["exit_code"] == 7
        return
    attempt.reap(grace=0.0)
    assert attempt.ended()["outcome"] == "exited"


# ---------------------------------------------------------------- what is read of its files


def test_lines_are_taken_in_once_and_a_torn_one_when_it_is_whole(stage: Stage) -> None:
    attempt = stage.attempt("endures").start()
    directory = attempt.launch.directory
    append_line(attempt.files.events, {"event": "started"})
    with attempt.files.events.open("ab") as file:
        file.write(b'no object\n{"event": "check')
    append_line(attempt.files.watch, {"kind": "alert"})
    [first] = attempt.host.observe({directory: Cursor()})
    assert first.events == ({"event": "started"},)
    assert first.watch == ({"kind": "alert"},)
    [second] = attempt.host.observe({directory: first.cursor})
    assert (second.events, second.watch, second.cursor) == ((), (), first.cursor)
    with attempt.files.events.open("ab") as file:
        file.write(b'point"}\n')
    [third] = attempt.host.observe({directory: second.cursor})
    assert third.events == ({"event": "checkpoint"},)


def test_a_checkpoint_is_seen_when_it_is_complete_and_gone_when_it_is_deleted(
    stage: Stage,
) -> None:
    attempt = stage.attempt("endures").start()
    step = attempt.files.checkpoint(5)
    step.mkdir(parents=True)
    assert attempt.seen().checkpoints == ()
    (step / "evidence.json").write_text('{"finite": true}')
    (step / "manifest.json").write_text("{}")
    [facts] = attempt.seen().checkpoints
    place = attempt.in_home.checkpoint(5)
    assert (facts.step, facts.path, facts.evidence) == (5, str(place), {"finite": True})
    assert len(facts.manifest_sha256) == 64
    (step / "manifest.json").unlink()
    assert attempt.seen().checkpoints == ()


def test_what_is_to_be_kept_lies_beside_the_checkpoints_and_the_last_word_holds(
    stage: Stage,
) -> None:
    attempt = stage.attempt("endures").start()
    for steps in ((20, 10), ()):
        attempt.host.keep(attempt.launch.directory, steps)
        assert read_wanted(attempt.files.keep) == frozenset(steps)


def test_one_broken_file_hides_no_other_attempt(stage: Stage) -> None:
    broken = stage.attempt("exits", "0").start()
    broken.ended()
    broken.files.exit.write_text("{")
    sound = stage.attempt("exits", "3").start()
    sound.ended()
    seen = sound.host.observe({broken.launch.directory: Cursor(), sound.launch.directory: Cursor()})
    assert [s.exit and s.exit["exit_code"] for s in seen] == [None, 3]
    assert any(str(broken.files.exit) in problem for problem in sound.host.describe().problems)


# ---------------------------------------------------------------- what the home has of it


def test_a_trainer_is_told_the_directory_in_which_its_attempt_lies(stage: Stage) -> None:
    attempt = stage.attempt("shows")
    argv = (*attempt.launch.argv, attempt.launch.directory)
    attempt.launch = attempt.launch.model_copy(update={"argv": argv})
    attempt.start().ended()
    assert json.loads(attempt.files.log.read_text())["argv"] == [str(attempt.files.root)]


def test_a_checkpoint_of_the_home_is_there_when_the_trainer_starts_from_it(stage: Stage) -> None:
    checkpoint = AttemptFiles(root=stage.home / "c" / "source" / "attempt-1").checkpoint(5)
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights.bin").write_bytes(os.urandom(1000))
    write_json(checkpoint / MANIFEST, make_manifest(checkpoint, step=5, extra={}))
    sha = digest(checkpoint / MANIFEST)
    start = {"kind": "warm", "checkpoint": str(checkpoint), "manifest_sha256": sha}
    attempt = stage.attempt("shows", spec={"start": start}).start()
    attempt.ended()
    shown = json.loads(attempt.files.log.read_text())
    told = Path(shown["environment"]["CAMPAIGN_RESUME_FROM"])
    assert verify_manifest(told, manifest_sha256=sha)["step"] == 5
    assert (told == checkpoint) is stage.shares_home


@pytest.mark.parametrize("animal", ["shows", "saves"])
def test_the_home_has_every_file_of_an_attempt_when_its_end_is_told(
    stage: Stage, animal: str
) -> None:
    attempt = stage.attempt(animal).start()
    if animal == "saves":
        attempt.who("trainer")
        append_line(attempt.files.metrics, {"t": 1.0, "step": 1, "m": {"loss": 0.5}})
        append_line(attempt.files.events, {"event": "started"})
        attempt.order()
    until(lambda: attempt.seen().exit, "its end is told")
    names = {p.name for p in attempt.files.root.iterdir() if p.is_file()} - {"kill.lock"}
    assert names >= {"spec.json", "env.json", "launch.json", "pid.json", "log.txt", "exit.json"}
    for name in sorted(names):
        there, here = attempt.files.root / name, attempt.in_home.root / name
        assert here.read_bytes() == there.read_bytes(), name
