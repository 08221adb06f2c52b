"""What is to be done: (state, event, now) -> decision. Pure: no clock, no disk, no Ray.

A decision is the records that change, the orders for the shells, and notes for the event log. The
controller commits the records and the notes in one transaction and only then performs the orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from campaign import events as e
from campaign import starts
from campaign.gpus.etiquette import look_at_host
from campaign.hosts.port import Order, OrderAction
from campaign.moves import AttemptFact, RunFact, move_attempt, move_run
from campaign.observed import attempt_after
from campaign.orders import (
    AnyOrder,
    FinishAttempt,
    ProveUnstarted,
    ReapAttempt,
    ReleaseLease,
    StopAttempt,
)
from campaign.schedule import ours_on, schedule
from campaign.settle import settle
from campaign.state import (
    SCRATCH,
    AnyRecord,
    Attempt,
    AttemptId,
    Done,
    Ended,
    Ending,
    FailureClass,
    HostRecord,
    HostSights,
    Queued,
    Result,
    Run,
    RunId,
    StartFrom,
    State,
    Stopping,
)

STOP_AGAIN_AFTER = 3.0
UNSTARTED_AFTER = 15.0
"""Seconds after which an attempt without a shim is asked about."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    records: tuple[AnyRecord, ...] = ()
    orders: tuple[AnyOrder, ...] = ()
    notes: tuple[str, ...] = ()

    def then(self, state: State, other: Decision) -> Decision:
        """Both, in order; a later record of the same thing takes the place of the earlier."""
        return Decision(
            records=self.records + other.records,
            orders=self.orders + other.orders,
            notes=self.notes + other.notes,
        )


NOTHING = Decision()


def decide(state: State, event: e.Event, now: float) -> Decision:
    """The consequences of one event, at once; placement is asked for separately by `Tick`."""
    match event:
        case e.Submitted():
            return _submitted(state, event, now)
        case e.StopRequested():
            return _merge(_stop(state, run, event, now) for run in event.runs)
        case e.ResumeRequested():
            return _resume(state, event, now)
        case e.QuarantineLifted():
            return _lift(state, event.device)
        case e.HostSeen():
            return _host_seen(state, event, now)
        case e.HostLost():
            return _host_lost(state, event)
        case e.Observed():
            return _observed(state, event, now)
        case e.StartFailed():
            return _never_started(state, event.attempt, event.reason, now)
        case e.ProvedUnstarted():
            return _never_started(state, event.attempt, "its shim never came up", now)
        case e.Tick():
            return _tick(state, now)


def _merge(decisions: Iterable[Decision]) -> Decision:
    records: tuple[AnyRecord, ...] = ()
    orders: tuple[AnyOrder, ...] = ()
    notes: tuple[str, ...] = ()
    for decision in decisions:
        records += decision.records
        orders += decision.orders
        notes += decision.notes
    return Decision(records=records, orders=orders, notes=notes)


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


def _stop(state: State, run_id: RunId, event: e.StopRequested, now: float) -> Decision:
    if (run := state.runs.get(run_id)) is None:
        return Decision(notes=(f"{_who(run_id)} not stopped: there is no such run",))
    ending = Ending(result=Result.CANCELLED, reason=f"{event.reason} (by {event.by})")
    match run.status:
        case Queued():
            move_run(_who(run_id), run.status.status, RunFact.CANCELLED)
            done = run.model_copy(update={"status": Done(at=now, ending=ending)})
            return Decision(records=(done,), notes=(f"{_who(run_id)} cancelled while queued",))
        case Done():
            return Decision(notes=(f"{_who(run_id)} is done already",))
    attempt = state.attempts[(*run_id, run.status.attempt)]
    if isinstance(attempt.status, Ended):
        return Decision(notes=(f"{_who(run_id)}: its attempt has just ended",))
    order = Order(
        key=f"user:{attempt.number}:{'kill' if event.kill else 'cancel'}",
        action=OrderAction.STOP,
        by="user",
        reason=event.reason,
        grace=0.0 if event.kill else None,
    )
    records: tuple[AnyRecord, ...] = ()
    if not isinstance(attempt.status, Stopping):
        move_attempt(_who(run_id), attempt.status.status, AttemptFact.STOP_ORDERED)
        stopping = Stopping(since=now, by="user", reason=event.reason, order=order)
        records = (attempt.model_copy(update={"status": stopping}),)
    return Decision(
        records=records,
        orders=(StopAttempt(attempt=attempt.id, order=order),),
        notes=(f"{_who(run_id)}: stop ordered by {event.by}",),
    )


def _resume(state: State, event: e.ResumeRequested, now: float) -> Decision:
    if (run := state.runs.get(event.run)) is None:
        return Decision(notes=(f"{_who(event.run)} not resumed: there is no such run",))
    if not isinstance(run.status, Done):
        return Decision(notes=(f"{_who(event.run)} not resumed: it is {run.status.status}",))
    plan = resume_plan(state, run, event.origin)
    if not isinstance(plan, starts.Ready):
        return Decision(notes=(f"{_who(event.run)} not resumed: {plan.why}",))
    move_run(_who(event.run), run.status.status, RunFact.RESUMED)
    queued = Queued(since=now, start=plan.start, why="resumed")
    return Decision(
        records=(run.model_copy(update={"status": queued, "crashes": 0, "losses": 0}),),
        notes=(f"{_who(event.run)} resumed from {_origin(plan.start)}",),
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


def _host_seen(state: State, event: e.HostSeen, now: float) -> Decision:
    facts = event.facts
    before = state.hosts.get(facts.host)
    sights = look_at_host(
        state.sights[facts.host].sights if facts.host in state.sights else {},
        facts.devices,
        ours_on(state, facts),
        now,
        idle_limit=state.idle_limit,
    )
    notes = () if before is not None and before.up else (f"host {facts.host} is here",)
    return Decision(
        records=(
            HostRecord(name=facts.host, up=True, seen_at=now, facts=facts),
            HostSights(host=facts.host, sights=sights),
        ),
        notes=notes,
    )


def _host_lost(state: State, event: e.HostLost) -> Decision:
    if (record := state.hosts.get(event.host)) is None or not record.up:
        return NOTHING
    return Decision(
        records=(record.model_copy(update={"up": False}),),
        notes=(f"host {event.host} does not answer: {event.reason}; its trainers may go on",),
    )


def _observed(state: State, event: e.Observed, now: float) -> Decision:
    if (attempt := state.attempts.get(event.attempt)) is None:
        return Decision(notes=(f"{event.attempt} observed, but unknown here",))
    seen = attempt_after(state, attempt, event.observation, now)
    decision = Decision(records=seen.records, notes=seen.notes)
    after = seen.attempt
    if seen.to_reap is not None and not after.reaped:
        order = reap_order(seen.to_reap)
        after = after.model_copy(update={"reaped": True})
        decision = decision.then(
            state,
            Decision(
                records=(after,),
                orders=(ReapAttempt(attempt=after.id, order=order),),
                notes=(f"{_who(after.run_id)}: {seen.to_reap}; what is left of it is ended",),
            ),
        )
    if attempt.leased and not after.leased:
        decision = decision.then(state, Decision(orders=(ReleaseLease(attempt=after.id),)))
    return _settle_if_over(state, decision, after, now)


def reap_order(why: str) -> Order:
    return Order(key="reap", action=OrderAction.STOP, by="controller", reason=why)


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
    who = _who(attempt.run_id)
    if attempt.status.status == "running":
        return Decision(notes=(f"{who}: late report that it never started ({reason}): dropped",))
    move_attempt(who, attempt.status.status, AttemptFact.NEVER_STARTED)
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
        notes=(f"{who} attempt {attempt.number} did not start: {reason}",),
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
    return Decision(
        records=placed.records, orders=(*placed.orders, *asked, *again), notes=placed.notes
    )


def _stop_again(state: State, now: float) -> Iterator[StopAttempt]:
    """A stop that was not obeyed at once may never have arrived; the same key is one order."""
    for attempt in state.attempts.values():
        status = attempt.status
        if isinstance(status, Stopping) and status.order and now - status.since > STOP_AGAIN_AFTER:
            yield StopAttempt(attempt=attempt.id, order=status.order)


def _who(run: RunId) -> str:
    return f"{run[0]}/{run[1]}"


def _origin(start: StartFrom) -> str:
    return "nothing" if start.step is None else f"step {start.step} of attempt {start.attempt}"
