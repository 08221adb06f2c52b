"""Laws of the conductor: what follows from what, with no process, disk or clock."""

from __future__ import annotations

from typing import Any

import pytest

from campaign import events as e
from campaign.errors import IllegalMove
from campaign.moves import (
    ATTEMPT_MOVES,
    RUN_MOVES,
    AttemptFact,
    AttemptStatus,
    RunStatus,
    move_attempt,
)
from campaign.orders import (
    FinishAttempt,
    ProveUnstarted,
    ReapAttempt,
    ReleaseLease,
    StartAttempt,
    StopAttempt,
)
from campaign.records import CheckpointStatus, FailureClass, Result, StartKind
from tests.campaign.worlds import (
    DEAD,
    ROLLBACK,
    UNBORN,
    World,
    host,
    judged,
    spec,
    verdict,
)


def test_only_done_has_no_way_out_and_every_attempt_status_is_reached() -> None:
    sources = {status for status, _ in ATTEMPT_MOVES}
    assert set(AttemptStatus) - sources == {AttemptStatus.DONE}
    assert set(ATTEMPT_MOVES.values()) | {AttemptStatus.STARTING} == set(AttemptStatus)


def test_every_run_status_has_a_way_out_and_a_way_in() -> None:
    assert {status for status, _ in RUN_MOVES} == set(RunStatus)
    assert set(RUN_MOVES.values()) == set(RunStatus)


def test_a_move_that_is_no_row_names_who_from_and_fact() -> None:
    with pytest.raises(IllegalMove, match=r"c/a is done; spawned is no legal move"):
        move_attempt("c/a", "done", AttemptFact.SPAWNED)


def test_a_submitted_run_starts_at_the_next_tick_on_a_leased_device() -> None:
    world = World(a=spec())
    world.tick()
    assert world.run("a").status.status == "active"
    assert world.orders == [StartAttempt(attempt=("c", "a", 1))]
    assert set(world.state.leases()) == {"cpu:h:0"}


def test_no_device_is_leased_twice_and_the_one_that_waits_says_why() -> None:
    world = World(a=spec(), b=spec(), d=spec())
    world.tick()
    assert len(world.state.leases()) == 2
    waiting = world.run("d").status
    assert waiting.status == "queued"
    assert "leased" in waiting.why


def test_a_run_ends_succeeded_once_it_exited_and_the_watcher_has_closed_it() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.exits("a", 0, closed=False)
    assert world.run("a").status.status == "active"
    assert not world.state.leases(), "the device is free as soon as the locks are"
    world.exits("a", 0)
    status = world.run("a").status
    assert (status.status, status.ending.result) == ("done", Result.SUCCEEDED)
    assert FinishAttempt(attempt=("c", "a", 1)) in world.orders


def test_a_device_stays_leased_while_any_process_holds_its_lock() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a", shim=DEAD, trainer=DEAD, exit=_exit(0), locks_held=True)
    assert world.state.leases()
    world.exits("a", 0)
    assert not world.state.leases()
    assert ReleaseLease(attempt=("c", "a", 1)) in world.orders


def test_the_same_observation_again_changes_nothing() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a", watch=(verdict("alert", onset=1, end=2),))
    before = world.state
    decision = world.see("a", watch=(verdict("alert", onset=1, end=2),))
    assert decision.records == ()
    assert world.state == before


def test_a_late_fact_about_a_done_attempt_does_not_bring_it_back() -> None:
    world = World(a=spec())
    world.tick()
    world.exits("a", 0)
    world.see("a")
    assert world.run("a").status.status == "done"
    assert world.attempt("a").status.status == "done"


# ---------------------------------------------------------------- endings


@pytest.mark.parametrize(
    ("record", "events", "result", "failure"),
    [
        ({"code": 0}, (), Result.SUCCEEDED, None),
        ({"code": 1}, (), Result.FAILED, FailureClass.BAD_EXIT),
        ({"code": 1}, ({"event": "failed", "class": "cuda_oom", "message": "m"},), Result.FAILED, FailureClass.CUDA_OOM),
        ({"code": 1}, ({"event": "failed", "class": "non_finite", "message": "m"},), Result.FAILED, FailureClass.NON_FINITE),
        ({"code": 143}, (), Result.FAILED, FailureClass.PREEMPTED),
        ({"code": None, "signal": 15}, (), Result.FAILED, FailureClass.PREEMPTED),
        ({"code": None, "signal": 9}, (), Result.FAILED, FailureClass.BAD_EXIT),
        ({"code": None, "signal": 9, "failure_class": "timeout", "detail": "1 h"}, (), Result.FAILED, FailureClass.TIMEOUT),
        ({"code": 143, "order": {"by": "user", "reason": "cancel"}}, (), Result.CANCELLED, None),
        ({"code": None, "signal": 9, "order": {"by": "watcher", "rule": "blow_up", "reason": "r"}}, (), Result.KILLED, None),
        ({"code": None, "outcome": "could_not_start", "detail": "held"}, (), Result.FAILED, FailureClass.COULD_NOT_START),
    ],
)  # fmt: skip
def test_how_an_attempt_ended_is_read_off_its_exit_record(
    record: dict[str, Any], events: tuple[dict[str, Any], ...], result: Result, failure: FailureClass | None
) -> None:  # fmt: skip
    world = World(a=spec())
    world.tick()
    world.exits("a", record.pop("code"), events=events, **record)
    status = world.attempt("a").status
    assert status.status == "done"
    assert (status.ending.result, status.ending.failure_class) == (result, failure)


# ---------------------------------------------------------------- the restart table


def test_a_dead_shim_is_reaped_once_and_only_then_is_its_attempt_lost() -> None:
    world = World(a=spec(retry={"losses": 0}))
    world.tick()
    world.see("a")
    world.see("a", shim=DEAD)
    world.see("a", shim=DEAD)
    assert sum(isinstance(o, ReapAttempt) for o in world.orders) == 1
    assert world.state.leases(), "its device is not offered while something of it lives"
    reaped = {"by": "controller", "reason": "its shim was killed"}
    world.exits("a", None, signal=9, order=reaped)
    assert world.attempt("a").status.ending.result is Result.LOST
    assert world.run("a").status.status == "done", "nothing waits for ever"


def test_a_reboot_loses_the_attempt_and_says_so() -> None:
    world = World(a=spec(retry={"losses": 0}))
    world.tick()
    world.see("a")
    world.see("a", same_boot=False, shim=DEAD, trainer=DEAD, locks_held=False)
    (reap,) = [o for o in world.orders if isinstance(o, ReapAttempt)]
    world.exits("a", None, order=reap.order.model_dump(mode="json"))
    assert "rebooted" in world.attempt("a").status.ending.reason


def test_where_nothing_of_a_dead_attempt_is_left_it_is_reaped_all_the_same() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.see("a", shim=DEAD, trainer=DEAD, locks_held=False)
    assert any(isinstance(o, ReapAttempt) for o in world.orders), "the reaper writes the record"


def test_a_stop_that_is_not_obeyed_is_sent_again_as_the_same_order() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.tell(e.StopRequested(runs=(("c", "a"),), kill=False, by="u", reason="enough"))
    world.tick(after=60.0)
    stops = [o.order for o in world.orders if isinstance(o, StopAttempt)]
    assert len(stops) == 2
    assert stops[0] == stops[1]


def test_an_attempt_without_a_shim_is_asked_about_before_it_is_given_up() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a", pid=None, shim=UNBORN, trainer=UNBORN, locks_held=False)
    world.tick(after=60.0)
    assert ProveUnstarted(attempt=("c", "a", 1)) in world.orders
    assert world.attempt("a").status.status == "starting"
    world.tell(e.ProvedUnstarted(attempt=("c", "a", 1)))
    assert world.run("a").status.status == "queued"
    world.tick(after=60.0)
    assert world.run("a").attempts == 2


def test_a_report_that_it_never_started_does_not_end_one_that_runs() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.tell(e.StartFailed(attempt=("c", "a", 1), reason="timeout of the call"))
    assert world.attempt("a").status.status == "running"


def test_silence_of_a_host_ends_no_run() -> None:
    world = World(a=spec())
    world.tick()
    world.see("a")
    world.tell(e.HostLost(host="h", reason="no answer"))
    world.tick(after=3600.0)
    assert world.attempt("a").status.status == "running"


# ---------------------------------------------------------------- retry


def test_a_crash_resumes_from_the_newest_complete_checkpoint_outside_alarm_windows() -> None:
    world = World(a=spec())
    world.tick()
    world.checkpoints("a", 10, 20, 30)
    world.see("a", watch=(judged("revoked", 30, "in the alarm window 25..30"),))
    world.exits("a", 1)
    status = world.run("a").status
    assert status.status == "queued"
    assert (status.start.kind, status.start.step) == (StartKind.RESUME, 20)
    assert world.run("a").crashes == 1


def test_a_crash_without_a_checkpoint_is_not_restarted_from_nothing_unless_the_spec_says_so() -> (
    None
):
    for from_scratch, expected in ((False, "done"), (True, "queued")):
        world = World(a=spec(retry={"from_scratch": from_scratch}))
        world.tick()
        world.see("a")
        world.exits("a", 1)
        assert world.run("a").status.status == expected


def test_crashes_are_counted_and_end() -> None:
    world = World(a=spec(retry={"crashes": 1, "from_scratch": True}))
    for _ in range(2):
        world.tick(after=1000.0)
        world.see("a")
        world.exits("a", 1)
    status = world.run("a").status
    assert status.status == "done"
    assert "crashed 2 times" in status.ending.reason


def test_a_checkpoint_that_failed_its_hash_is_set_aside_and_the_one_before_is_taken() -> None:
    world = World(a=spec(retry={"crashes": 3}))
    world.tick()
    world.checkpoints("a", 10, 20)
    world.exits("a", 1)
    world.tick(after=1000.0)
    assert world.attempt("a").start.step == 20
    bad = ({"event": "failed", "class": "bad_checkpoint", "message": "sha256 differs"},)
    world.exits("a", 13, events=bad)
    assert world.state.checkpoints["c", "a", 1, 20].status is CheckpointStatus.QUARANTINED
    assert world.run("a").status.start.step == 10


# ---------------------------------------------------------------- rules, rollback, warm starts


def test_a_kill_by_a_rule_ends_the_run_with_rule_and_numbers() -> None:
    world = World(a=spec())
    world.tick()
    order = {"by": "watcher", "rule": "blow_up", "reason": "r"}
    world.exits("a", None, signal=15, order=order, watch=[verdict("kill", onset=10, end=30)])
    ending = world.run("a").status.ending
    assert (ending.result, ending.rule) == (Result.KILLED, "blow_up")
    assert "step 30" in ending.reason


FAILED = {"event": "failed", "class": "non_finite", "message": "the gradient of W1 holds 3 NaN"}


@pytest.mark.parametrize("signal", [15, None], ids=["the rule was first", "the trainer was first"])
def test_why_a_run_was_killed_ends_with_what_its_trainer_said(signal: int | None) -> None:
    world = World(a=spec())
    world.tick()
    order = {"by": "watcher", "rule": "blow_up", "reason": "r"}
    record = {"signal": 15, "order": order} if signal else {}
    code = None if signal else 1
    world.exits("a", code, events=(FAILED,), watch=[verdict("kill", onset=10, end=30)], **record)
    run, attempt = world.run("a").status.ending, world.attempt("a").status.ending
    assert (run.result, run.rule) == (Result.KILLED, "blow_up")
    assert (
        run.reason
        == f"{verdict('kill', onset=10, end=30)['reason']}; the trainer says: {FAILED['message']}"
    )
    assert FAILED["message"] in attempt.reason


def _diverged(world: World, *, onset: int = 25, end: int = 40) -> None:
    order = {"by": "watcher", "rule": "blow_up", "reason": "r"}
    world.exits(
        "a", None, signal=15, order=order, watch=[verdict("rollback", onset=onset, end=end)]
    )


def test_a_rollback_starts_from_the_newest_certified_checkpoint_before_the_onset() -> None:
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    world.checkpoints("a", 10, 20, 30, certified=(10, 20))
    _diverged(world)
    run = world.run("a")
    assert run.status.status == "queued"
    assert run.status.start.step == 20
    assert dict(run.changes) == {"resources.cpus": 1}
    world.tick()
    assert (world.attempt("a").number, world.attempt("a").parent) == (2, 1)


@pytest.mark.parametrize(
    ("certified", "onset"), [((), 25), ((30,), 25), ((20,), 20)], ids=["none", "after", "at-onset"]
)
def test_without_a_certified_checkpoint_before_the_onset_the_run_stays_killed(
    certified: tuple[int, ...], onset: int
) -> None:
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    world.checkpoints("a", 10, 20, 30, certified=certified)
    _diverged(world, onset=onset)
    status = world.run("a").status
    assert (status.status, status.ending.result) == ("done", Result.KILLED)
    assert "no certified checkpoint" in status.ending.reason


def test_rollbacks_are_counted_by_rule() -> None:
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    world.checkpoints("a", 10, 20, certified=(10, 20))
    _diverged(world)
    world.tick(after=60.0)
    _diverged(world)
    ending = world.run("a").status.ending
    assert ending.result is Result.KILLED
    assert "tries: 1" in ending.reason


def test_a_verdict_on_a_trainer_that_had_just_ended_by_itself_still_rolls_back() -> None:
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    world.checkpoints("a", 10, certified=(10,))
    world.exits("a", 1, watch=[verdict("rollback", onset=25, end=40)])
    assert world.run("a").status.start.step == 10


def test_what_a_rollback_left_behind_is_never_resumed_from() -> None:
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    world.checkpoints("a", 10, 20, 50, certified=(10, 20))
    _diverged(world)
    world.tick(after=60.0)
    world.see("a", trainer=ALIVE_AND_WELL)
    world.exits("a", 1)
    assert world.run("a").status.start.step == 20


ALIVE_AND_WELL = "alive"


def _warm(**more: Any) -> Any:
    return spec(start={"warm_from": {"run": "a", **more}})


def test_a_warm_start_waits_for_its_source_and_takes_its_newest_certified_checkpoint() -> None:
    world = World(a=spec(), b=_warm())
    world.tick()
    assert "waits for a to end" in world.run("b").status.why
    world.checkpoints("a", 10, 20, 30, certified=(10, 20))
    world.tick()
    assert world.run("b").status.status == "queued"
    world.exits("a", 0)
    world.tick()
    start = world.attempt("b").start
    assert (start.kind, start.run, start.step) == (StartKind.WARM, "a", 20)


def test_a_warm_start_from_a_run_that_ended_without_a_certificate_is_refused_with_the_reasons() -> (
    None
):
    world = World(a=spec(), b=_warm())
    world.tick()
    world.checkpoints("a", 10)
    world.exits("a", 0)
    world.tick()
    ending = world.run("b").status.ending
    assert (ending.result, ending.exit_code) == (Result.FAILED, 13)
    assert "step 10 is complete" in ending.reason


def test_a_revoked_certificate_is_never_given_back() -> None:
    world = World(a=spec())
    world.tick()
    world.checkpoints("a", 10, certified=(10,))
    world.see("a", watch=(judged("revoked", 10),))
    world.see("a", watch=(judged("certified", 10),))
    assert world.state.checkpoints["c", "a", 1, 10].status is CheckpointStatus.REVOKED


def test_a_deleted_checkpoint_is_retired_and_never_started_from() -> None:
    world = World(a=spec())
    world.tick()
    world.checkpoints("a", 10, 20, certified=(10,))
    world.see("a", checkpoints=())
    assert {c.status for c in world.state.checkpoints.values()} == {CheckpointStatus.RETIRED}


# ---------------------------------------------------------------- the user


def test_cancelling_a_queued_run_ends_it_and_an_active_one_is_ordered_to_stop() -> None:
    world = World(a=spec(), b=spec(start={"warm_from": {"run": "a"}}))
    world.tick()
    world.see("a")
    world.tell(e.StopRequested(runs=(("c", "a"), ("c", "b")), kill=False, by="u", reason="enough"))
    assert world.run("b").status.ending.result is Result.CANCELLED
    assert world.attempt("a").status.status == "stopping"
    assert isinstance(world.orders[-1], StopAttempt)
    world.exits("a", 143, order={"by": "user", "reason": "enough"})
    assert world.run("a").status.ending.result is Result.CANCELLED


def test_resume_goes_on_from_the_newest_checkpoint_and_a_done_attempt_stays_done() -> None:
    world = World(a=spec())
    world.tick()
    world.checkpoints("a", 10, 20, certified=(10,))
    world.exits("a", 143, order={"by": "user", "reason": "enough"})
    for origin, step in (("latest", 20), ("certified", 10), (10, 10)):
        again = World()
        again.state, again.now = world.state, world.now
        again.tell(e.ResumeRequested(run=("c", "a"), origin=origin))
        assert again.run("a").status.start.step == step
        again.tick()
        assert again.attempt("a", 1).status.status == "done"
        assert again.attempt("a", 2).status.status == "starting"


def test_a_resume_from_what_is_not_there_is_refused_and_changes_nothing() -> None:
    world = World(a=spec())
    world.tick()
    world.exits("a", 0)
    before = world.state
    world.tell(e.ResumeRequested(run=("c", "a"), origin=99))
    assert world.state == before
    assert "no checkpoint of step 99" in world.notes[-1]


def test_a_gpu_whose_memory_did_not_come_back_is_not_offered_again() -> None:
    world = World()
    world.tell(e.HostSeen(facts=host(gpus=("GPU-a",))))
    world.now += 60
    world.tell(e.HostSeen(facts=host(gpus=("GPU-a",))))
    world.tell(
        e.Submitted(campaign=_campaign(), runs={"a": spec(resources={"gpus": 1}), "b": spec(resources={"gpus": 1})})
    )  # fmt: skip
    world.tick()
    assert set(world.state.leases()) == {"GPU-a"}
    world.exits("a", 0, gpu_release={"ok": False, "detail": "1135 MiB held by pid 9"})
    world.tick()
    assert "quarantined" in world.run("b").status.why
    world.tell(e.QuarantineLifted(device="GPU-a"))
    world.tell(e.HostSeen(facts=host(gpus=("GPU-a",))))
    world.tick()
    assert world.run("b").status.status == "active"


def _campaign() -> Any:
    from tests.campaign.worlds import campaign

    return campaign()


def _exit(code: int) -> dict[str, Any]:
    return {"outcome": "exited", "exit_code": code, "signal": None, "ended_at": 1.0}
