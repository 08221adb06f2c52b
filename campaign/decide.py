"""What is to be done: (state, event, now) -> decision. Pure: no clock, no disk, no Ray.

A decision is the records that change, the orders for the shells, and notes for the event log. The
controller commits the records and the notes in one transaction and only then performs the orders.
"""

from __future__ import annotations

from collections.abc import Iterator

from campaign import events as e
from campaign import starts
from campaign.decision import NOTHING, Decision, alerted, merged, who
from campaign.dependents import keep_for_dependents
from campaign.hosting import host_lost, host_seen
from campaign.hosts.port import Order, OrderAction
from campaign.moves import AttemptFact, RunFact, move_attempt, move_run
from campaign.observed import attempt_after
from campaign.orders import (
    FinishAttempt,
    ProveUnstarted,
    ReleaseLease,
    StopAttempt,
)
from campaign.reaping import reap, reap_again, reap_failed
from campaign.records import (
    SCRATCH,
    AnyRecord,
    Attempt,
    AttemptId,
    Done,
    Ended,
    Ending,
    FailureClass,
    Queued,
    Result,
    Run,
    RunId,
    StartFrom,
    Stopping,
)
from campaign.schedule import schedule
from campaign.settle import settle
from campaign.state import State
from specs.endings import NEVER_CAME_UP

__all__ = ["NOTHING", "Decision", "decide"]

STOP_AGAIN_AFTER = 3.0
UNSTARTED_AFTER = 15.0
"""Seconds after which an attempt without a shim is asked about."""


def decide(state: State, event: e.Event, now: float) -> Decision:
    """The consequences of one event, at once; placement is asked for separately by `Tick`."""
    match event:
        case e.Submitted():
            return _submitted(state, event, now)
        case e.RequestRefused():
            return _refused(event, now)
        case e.StopRequested():
            return merged(_stop(state, run, event, now) for run in event.runs)
        case e.ResumeRequested():
            return _resume(state, event, now)
        case e.QuarantineLifted():
            return _lift(state, event.device)
        case e.HostSeen():
            return host_seen(state, event, now)
        case e.HostLost():
            return host_lost(state, event)
        case e.Observed():
            return _observed(state, event, now)
        case e.StartFailed():
            return _never_started(state, event.attempt, event.reason, now)
        case e.ReapFailed():
            return reap_failed(state, event, now)
        case e.ProvedUnstarted():
            return _never_started(state, event.attempt, NEVER_CAME_UP, now)
        case e.Tick():
            return _tick(state, now)


def _submitted(state: State, event: e.Submitted, now: float) -> Decision:
    if event.campaign.name in state.campaigns:
        return Decision(notes=(f"campaign {event.campaign.name} is there already",))
    first = len(state.runs)
    runs = [
        Run(
            campaign=event.campaign.name,
            name=name,
            order=first + position,
            spec=spec,
            status=Queued(since=now, why="queued"),
        )
        for position, (name, spec) in enumerate(event.runs.items())
    ]
    return Decision(
        records=(event.campaign, *runs),
        notes=(f"campaign {event.campaign.name} submitted: {len(runs)} runs",),
    )


def _refused(event: e.RequestRefused, now: float) -> Decision:
    """Told to whoever asked (as the answer), in the event log, and as an alert."""
    what = f"{event.kind} of {event.campaign}" if event.campaign else event.kind
    reason = f"refused: request {event.request} ({what}): {event.reason}"
    return alerted(f"request:{event.request}", reason, now, campaign=event.campaign)


def _stop(state: State, run_id: RunId, event: e.StopRequested, now: float) -> Decision:
    if (run := state.runs.get(run_id)) is None:
        return Decision(notes=(f"{who(run_id)} not stopped: there is no such run",))
    ending = Ending(result=Result.CANCELLED, reason=f"{event.reason} (by {event.by})")
    match run.status:
        case Queued():
            move_run(who(run_id), run.status.status, RunFact.CANCELLED)
            done = run.model_copy(update={"status": Done(at=now, ending=ending)})
            return Decision(records=(done,), notes=(f"{who(run_id)} cancelled while queued",))
        case Done():
            return Decision(notes=(f"{who(run_id)} is done already",))
    attempt = state.attempts[(*run_id, run.status.attempt)]
    if isinstance(attempt.status, Ended):
        return Decision(notes=(f"{who(run_id)}: its attempt has just ended",))
    order = Order(
        key=f"user:{attempt.number}:{'kill' if event.kill else 'cancel'}",
        action=OrderAction.STOP,
        by="user",
        reason=event.reason,
        grace=0.0 if event.kill else None,
    )
    records: tuple[AnyRecord, ...] = ()
    if not isinstance(attempt.status, Stopping):
        move_attempt(who(run_id), attempt.status.status, AttemptFact.STOP_ORDERED)
        stopping = Stopping(since=now, by="user", reason=event.reason, order=order)
        records = (attempt.model_copy(update={"status": stopping}),)
    return Decision(
        records=records,
        orders=(StopAttempt(attempt=attempt.id, order=order),),
        notes=(f"{who(run_id)}: stop ordered by {event.by}",),
    )


def _resume(state: State, event: e.ResumeRequested, now: float) -> Decision:
    if (run := state.runs.get(event.run)) is None:
        return Decision(notes=(f"{who(event.run)} not resumed: there is no such run",))
    if not isinstance(run.status, Done):
        return Decision(notes=(f"{who(event.run)} not resumed: it is {run.status.status}",))
    plan = resume_plan(state, run, event.origin)
    if not isinstance(plan, starts.Ready):
        return Decision(notes=(f"{who(event.run)} not resumed: {plan.why}",))
    move_run(who(event.run), run.status.status, RunFact.RESUMED)
    queued = Queued(since=now, start=plan.start, why="resumed")
    return Decision(
        records=(run.model_copy(update={"status": queued, "crashes": 0, "losses": 0}),),
        notes=(f"{who(event.run)} resumed from {_origin(plan.start)}",),
    )


def resume_plan(state: State, run: Run, origin: str | int) -> starts.Plan:
    """Where ``campaign resume --from`` leads; the CLI asks the same function before it writes."""
    if isinstance(origin, int):
        return starts.step_start(state, run, origin)
    if origin == "scratch":
        return starts.Ready(start=SCRATCH)
    return starts.resume_start(state, run, certified_only=origin == "certified")


def _lift(state: State, device: str) -> Decision:
    if (record := state.quarantines.get(device)) is None:
        return NOTHING
    return Decision(
        records=(record.model_copy(update={"lifted": True}),),
        notes=(f"quarantine of {device} lifted by the user",),
    )


def _observed(state: State, event: e.Observed, now: float) -> Decision:
    if (attempt := state.attempts.get(event.attempt)) is None:
        return Decision(notes=(f"{event.attempt} observed, but unknown here",))
    seen = attempt_after(state, attempt, event.observation, now)
    decision = Decision(records=seen.records, notes=seen.notes)
    after = seen.attempt
    if seen.to_reap is not None and not after.reaped and not after.reap_failures:
        decision = decision.then(state, reap(after, seen.to_reap))
        after = state.apply(decision.records).attempts[after.id]
    if attempt.leased and not after.leased:
        decision = decision.then(state, Decision(orders=(ReleaseLease(attempt=after.id),)))
    return _settle_if_over(state, decision, after, now)


def _settle_if_over(state: State, decision: Decision, after: Attempt, now: float) -> Decision:
    """Once the trainer is gone and the watcher has said its last word, the run's fate is decided."""
    over = isinstance(after.status, Ended) and after.watch_closed and not after.leased
    if not over:
        return decision
    settled_state = state.apply(decision.records)
    run = settled_state.runs[after.run_id]
    decision = decision.then(state, Decision(orders=(FinishAttempt(attempt=after.id),)))
    if run.status.status != "active" or run.status.attempt != after.number:
        return decision
    outcome = settle(settled_state, run, after, now)
    return decision.then(
        state, Decision(records=(outcome.run, *outcome.checkpoints), notes=outcome.notes)
    )


def _never_started(state: State, attempt_id: AttemptId, reason: str, now: float) -> Decision:
    attempt = state.attempts.get(attempt_id)
    if attempt is None or isinstance(attempt.status, Ended):
        return NOTHING
    name = who(attempt.run_id)
    if attempt.status.status == "running":
        return Decision(notes=(f"{name}: late report that it never started ({reason}): dropped",))
    move_attempt(name, attempt.status.status, AttemptFact.NEVER_STARTED)
    ending = Ending(result=Result.FAILED, failure_class=FailureClass.COULD_NOT_START, reason=reason)
    after = attempt.model_copy(
        update={
            "status": Ended(at=now, ending=ending),
            "leased": False,
            "watch_closed": True,
        }
    )
    decision = Decision(
        records=(after,),
        orders=(ReleaseLease(attempt=after.id),),
        notes=(f"{name} attempt {attempt.number} did not start: {reason}",),
    )
    return _settle_if_over(state, decision, after, now)


def _tick(state: State, now: float) -> Decision:
    asked = tuple(
        ProveUnstarted(attempt=a.id)
        for a in state.attempts.values()
        if a.status.status == "starting" and now - a.created_at > UNSTARTED_AFTER
    )
    placed = schedule(state, now)
    again = tuple(_stop_again(state, now))
    decision = Decision(
        records=placed.records, orders=(*placed.orders, *asked, *again), notes=placed.notes
    )
    decision = decision.then(state, reap_again(state, now))
    return decision.then(state, keep_for_dependents(state.apply(decision.records)))


def _stop_again(state: State, now: float) -> Iterator[StopAttempt]:
    """A stop that was not obeyed at once may never have arrived; the same key is one order."""
    for attempt in state.attempts.values():
        status = attempt.status
        if isinstance(status, Stopping) and status.order and now - status.since > STOP_AGAIN_AFTER:
            yield StopAttempt(attempt=attempt.id, order=status.order)


def _origin(start: StartFrom) -> str:
    return "nothing" if start.step is None else f"step {start.step} of attempt {start.attempt}"
