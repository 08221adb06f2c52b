"""Ending what a dead shim left behind: ordered once, and again with pauses where that failed. Pure."""

from __future__ import annotations

from campaign import events as e
from campaign.decision import NOTHING, Decision, merged, who
from campaign.hosts.port import Order, OrderAction
from campaign.orders import ReapAttempt
from campaign.records import Attempt, Ended
from campaign.state import State

FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0
"""Seconds before a reaper that failed is sent again."""


def reap_order(why: str) -> Order:
    return Order(key="reap", action=OrderAction.STOP, by="controller", reason=why)


def reap(attempt: Attempt, why: str) -> Decision:
    """The order; carrying it out twice does no harm."""
    return Decision(
        records=(attempt.model_copy(update={"reaped": True, "reap_why": why}),),
        orders=(ReapAttempt(attempt=attempt.id, order=reap_order(why)),),
        notes=(f"{who(attempt.run_id)}: {why}; what is left of it is ended",),
    )


def reap_failed(state: State, event: e.ReapFailed, now: float) -> Decision:
    """It is tried again after a pause that doubles."""
    attempt = state.attempts.get(event.attempt)
    if attempt is None or isinstance(attempt.status, Ended):
        return NOTHING
    pause = min(FIRST_PAUSE * 2.0**attempt.reap_failures, LONGEST_PAUSE)
    update = {
        "reaped": False,
        "reap_failures": attempt.reap_failures + 1,
        "reap_again_at": now + pause,
    }
    said = f"{who(attempt.run_id)}: what its shim left was not ended ({event.reason})"
    return Decision(
        records=(attempt.model_copy(update=update),),
        notes=(f"{said}; tried again in {pause:.0f} s",),
    )


def reap_again(state: State, now: float) -> Decision:
    """Those whose pause is over, on hosts that answer."""
    due = (
        attempt
        for attempt in state.attempts.values()
        if attempt.reap_failures
        and not attempt.reaped
        and attempt.reap_again_at <= now
        and not isinstance(attempt.status, Ended)
        and (host := state.hosts.get(attempt.host)) is not None
        and host.up
    )
    return merged(reap(attempt, attempt.reap_why) for attempt in due)
