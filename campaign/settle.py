"""The fate of a run once an attempt of it is over: done, tried again, or rolled back. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from campaign import retry, starts
from campaign.moves import RunFact, move_run
from campaign.records import (
    SCRATCH,
    Attempt,
    Checkpoint,
    CheckpointStatus,
    Done,
    Ended,
    Ending,
    FailureClass,
    Queued,
    Result,
    Run,
    StartFrom,
    WatchVerdict,
)
from campaign.state import State
from specs.endings import with_word
from specs.run import RunSpec
from specs.watch import rule_name


@dataclass(frozen=True, kw_only=True)
class Outcome:
    run: Run
    notes: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...] = ()


def settle(state: State, run: Run, attempt: Attempt, now: float) -> Outcome:
    """What becomes of an active run whose attempt ended, was judged and gave its devices back."""
    assert isinstance(attempt.status, Ended)
    ending = attempt.status.ending
    if ending.result is Result.CANCELLED:
        return _done(run, ending, now)
    if attempt.verdict is not None:
        return _after_verdict(state, run, attempt, attempt.verdict, ending, now)
    if ending.result is Result.SUCCEEDED or ending.result is Result.KILLED:
        return _done(run, ending, now)
    return _after_crash(state, run, attempt, ending, now)


def _after_verdict(
    state: State, run: Run, attempt: Attempt, verdict: WatchVerdict, ending: Ending, now: float
) -> Outcome:
    """A rule ended it, or would have if the trainer had not ended first."""
    said = attempt.trainer_failure
    why = with_word(verdict.reason, None if said is None else said[1])
    killed = Ending(result=Result.KILLED, rule=verdict.rule, reason=why, exit_code=ending.exit_code)
    if verdict.action == "kill":
        return _done(run, killed, now)
    if not isinstance(run.spec, RunSpec):
        lost = f"{why}; not rolled back: its stored spec cannot be read"
        return _done(run, killed.model_copy(update={"reason": lost}), now)
    rule = next(r for r in run.spec.watch if rule_name(r) == verdict.rule)
    used = run.rollbacks.get(verdict.rule, 0)
    if used >= rule.tries:
        spent = f"{why}; rolled back {used} times already (tries: {rule.tries})"
        return _done(run, killed.model_copy(update={"reason": spent}), now)
    plan = starts.rollback_start(state, attempt, verdict.onset)
    if not isinstance(plan, starts.Ready):
        reason = f"{why}; not rolled back: {plan.why}"
        return _done(run, killed.model_copy(update={"reason": reason}), now)
    move_run(_who(run), run.status.status, RunFact.ROLLED_BACK)
    after = run.model_copy(
        update={
            "status": Queued(since=now, start=plan.start, why="rolled back"),
            "changes": {**run.changes, **rule.set},
            "rollbacks": {**run.rollbacks, verdict.rule: used + 1},
        }
    )
    changed = ", ".join(f"{path}={value}" for path, value in rule.set.items()) or "nothing changed"
    return Outcome(
        run=after,
        notes=(f"{_who(run)} rolled back to {_where(plan.start)} with {changed}: {why}",),
    )


def _after_crash(state: State, run: Run, attempt: Attempt, ending: Ending, now: float) -> Outcome:
    outcome = retry.after(run, ending, said_so=attempt.trainer_failure is not None)
    if isinstance(outcome, retry.GiveUp):
        reason = f"{ending.reason}; not tried again: {outcome.why}"
        return _done(run, ending.model_copy(update={"reason": reason}), now)
    bad = _bad_checkpoint(state, attempt, ending)
    if attempt.identity is None and ending.failure_class is not FailureClass.BAD_CHECKPOINT:
        plan: starts.Plan = starts.Ready(start=attempt.start)  # it never ran: the same start again
    else:
        plan = starts.resume_start(state.apply(bad), run)
    if not isinstance(plan, starts.Ready):
        if not outcome.from_scratch:
            reason = f"{ending.reason}; not restarted: {plan.why}"
            return _done(run, ending.model_copy(update={"reason": reason}), now)
        plan = starts.Ready(start=SCRATCH)
    move_run(_who(run), run.status.status, RunFact.RETRIED)
    queued = Queued(since=now, not_before=now + outcome.wait, start=plan.start, why="tried again")
    count = getattr(run, outcome.counts_as) + 1
    return Outcome(
        run=run.model_copy(update={"status": queued, outcome.counts_as: count}),
        notes=(f"{_who(run)} tried again from {_where(plan.start)} after: {ending.reason}",),
        checkpoints=bad,
    )


def _bad_checkpoint(state: State, attempt: Attempt, ending: Ending) -> tuple[Checkpoint, ...]:
    """The checkpoint to set aside: the trainer found its bytes to be wrong."""
    start = attempt.start
    if ending.failure_class is not FailureClass.BAD_CHECKPOINT or start.step is None:
        return ()
    key = (start.campaign or "", start.run or "", start.attempt or 0, start.step)
    if (bad := state.checkpoints.get(key)) is None:
        return ()
    update = {"status": CheckpointStatus.QUARANTINED, "reason": ending.reason}
    return (bad.model_copy(update=update),)


def _done(run: Run, ending: Ending, now: float) -> Outcome:
    move_run(_who(run), run.status.status, RunFact.SETTLED)
    return Outcome(
        run=run.model_copy(update={"status": Done(at=now, ending=ending)}),
        notes=(f"{_who(run)} done: {ending.result.value} ({ending.reason})",),
    )


def _where(start: StartFrom) -> str:
    return "nothing" if start.step is None else f"step {start.step} of attempt {start.attempt}"


def _who(run: Run) -> str:
    return f"{run.campaign}/{run.name}"
