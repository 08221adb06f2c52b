"""The controller: take an event, decide, commit, perform. One a home; it never imports Ray.

It may be killed at any moment: what it had decided is in the store, what it had not is seen again.
"""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from campaign import events as e
from campaign import orders as o
from campaign import requests
from campaign.decide import Decision, decide
from campaign.hosts import messages
from campaign.launching import launch_of
from campaign.links import Facts, Link
from campaign.reaping import reap_order
from campaign.records import Attempt, AttemptId
from campaign.state import State
from campaign.store import Request, Store

TICK_EVERY = 0.5
TAKE_TIMEOUT = 0.05


class Controller:
    """The loop. ``clock`` gives unix seconds; ``say`` writes a line to the log."""

    def __init__(
        self,
        *,
        store: Store,
        link: Link,
        facts: Facts,
        clock: Callable[[], float],
        say: Callable[[str], None],
        quiet: float | None = None,
        idle_limit: int | None = None,
    ) -> None:
        self.store, self.link, self.facts = store, link, facts
        self.clock, self.say = clock, say
        self.state: State = _with_limits(store.load(), quiet, idle_limit)
        self.going_down: bool | None = None  # True: runs are stopped first
        self._epoch = -1
        self._version = -1
        self._ticked = 0.0
        self._began = clock()
        self._dirty = True

    def turn(self) -> None:
        """One turn of the loop."""
        self.link.tend()
        if self.link.epoch != self._epoch:
            self._adopt()
        for event, request in self._take():
            self._step(event, request)
        if self._dirty or self.clock() - self._ticked > TICK_EVERY:
            self._dirty, self._ticked = False, self.clock()
            if self.going_down is None:
                self._step(e.Tick(), None)

    @property
    def idle(self) -> bool:
        """Nothing runs, nothing waits, nothing was asked."""
        busy = any(run.status.status != "done" for run in self.state.runs.values())
        return not busy and not any(True for _ in self.state.live_attempts()) and self.facts.empty()

    # ------------------------------------------------------------ take

    def _take(self) -> Iterator[tuple[e.Event, Request | None]]:
        """Requests first, then facts; waits a moment if there is neither."""
        for request in self._requests():
            asked = requests.read(request)
            event = self._down(request, asked) if isinstance(asked, requests.Down) else asked
            if event is None:
                self.store.commit(
                    (), (), self.clock(), kind=request.kind, answer=(request.id, "ok")
                )
            else:
                yield event, request
        try:
            fact = self.facts.get(timeout=TAKE_TIMEOUT)
            while True:
                if (event := self._as_fact(fact)) is not None:
                    yield event, None
                fact = self.facts.get_nowait()
        except queue.Empty:
            return

    def _requests(self) -> list[Request]:
        version = self.store.data_version()
        if version == self._version:
            return []
        self._version = version
        return self.store.open_requests()

    def _down(self, request: Request, asked: requests.Down) -> e.Event | None:
        if request.made_at < self._began:
            return None  # it was meant for a controller that is gone
        self.going_down = asked.stop_runs
        return self._stop_everything() if asked.stop_runs else None

    def _stop_everything(self) -> e.Event:
        live = tuple(run.id for run in self.state.runs.values() if run.status.status == "active")
        return e.StopRequested(runs=live, kill=False, by="user", reason="campaign down --stop-runs")

    def _as_fact(self, fact: messages.AnyFact) -> e.Event | None:
        match fact:
            case messages.HostSeen():
                return e.HostSeen(facts=fact.facts)
            case messages.HostLost():
                return e.HostLost(host=fact.host, reason=fact.reason)
            case messages.Observed():
                return e.Observed(
                    attempt=attempt_of(fact.observation.directory), observation=fact.observation
                )
            case messages.StartFailed():
                return e.StartFailed(attempt=attempt_of(fact.directory), reason=fact.reason)
            case messages.ReapFailed():
                return e.ReapFailed(attempt=attempt_of(fact.directory), reason=fact.reason)
            case messages.Unstarted():
                return e.ProvedUnstarted(attempt=attempt_of(fact.directory))
            case messages.Problem() | messages.Ready():
                self.say(fact.text)
                return None

    # ------------------------------------------------------------ decide, commit, perform

    def _step(self, event: e.Event, request: Request | None) -> None:
        now = self.clock()
        decision = decide(self.state, event, now)
        answer = None if request is None else (request.id, "; ".join(decision.notes) or "ok")
        if decision.records or decision.notes or answer:
            try:
                self.store.commit(
                    decision.records, decision.notes, now, kind=type(event).__name__, answer=answer
                )
            except sqlite3.IntegrityError as error:
                self.say(f"refused by the store, dropped: {error}; {decision.notes}")
                return
        self.state = self.state.apply(decision.records)
        for note in decision.notes:
            self.say(note)
        self._dirty = self._dirty or _matters(event, decision)
        for order in decision.orders:
            self._perform(order)

    def _perform(self, order: o.AnyOrder) -> None:
        attempt = self.state.attempts[order.attempt]
        match order:
            case o.StartAttempt():
                run = self.state.runs[attempt.run_id]
                launch = launch_of(self.state.campaigns[attempt.campaign], run, attempt)
                self.link.send(messages.Start(host=attempt.host, launch=launch))
            case o.StopAttempt():
                self.link.send(
                    messages.GiveOrder(
                        host=attempt.host, directory=attempt.directory, order=order.order
                    )
                )
            case o.ReapAttempt():
                self.link.send(
                    messages.Reap(host=attempt.host, directory=attempt.directory, order=order.order)
                )
            case o.KeepCheckpoints():
                self._keep(attempt, order.steps)
            case o.ProveUnstarted():
                self.link.send(messages.Prove(host=attempt.host, directory=attempt.directory))
            case o.ReleaseLease():
                self.link.send(messages.Release(directory=attempt.directory))
            case o.FinishAttempt():
                self.link.send(messages.Untrack(host=attempt.host, directory=attempt.directory))

    def _adopt(self) -> None:
        """The other side knows nothing: tell it every attempt that is not over, then go on."""
        self._epoch = self.link.epoch
        for attempt in self.state.live_attempts():
            self.link.send(
                messages.Track(
                    host=attempt.host,
                    directory=attempt.directory,
                    cursor=attempt.cursor,
                    devices=attempt.devices if attempt.leased else (),
                )
            )
            if attempt.kept:
                self._keep(attempt, attempt.kept)
            if attempt.reaped and attempt.leased:
                self._reap_again(attempt)

    def _keep(self, attempt: Attempt, steps: tuple[int, ...]) -> None:
        self.link.send(messages.Keep(host=attempt.host, directory=attempt.directory, steps=steps))

    def _reap_again(self, attempt: Attempt) -> None:
        """A ladder that was under way when the link died is run again: it does no harm twice."""
        order = reap_order(attempt.reap_why or "its shim was killed")
        self._perform(o.ReapAttempt(attempt=attempt.id, order=order))


def _with_limits(state: State, quiet: float | None, idle_limit: int | None) -> State:
    """The state with the GPU etiquette of the configuration."""
    if quiet is not None:
        state = replace(state, policy=replace(state.policy, quiet=quiet))
    return state if idle_limit is None else replace(state, idle_limit=idle_limit)


def attempt_of(directory: str) -> AttemptId:
    """The attempt whose files lie in ``<home>/<campaign>/<run>/attempt-<n>``."""
    path = Path(directory)
    return (path.parents[1].name, path.parents[0].name, int(path.name.removeprefix("attempt-")))


def _matters(event: e.Event, decision: Decision) -> bool:
    """Whether placement may come out differently now."""
    return not isinstance(event, e.Tick) and bool(decision.records)
