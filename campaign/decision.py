"""What follows from an event: records that change, orders for the shells, notes for the event log. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from campaign.orders import AnyOrder
from campaign.records import Alert, AnyRecord, RunId
from campaign.state import State


@dataclass(frozen=True, kw_only=True)
class Decision:
    records: tuple[AnyRecord, ...] = ()
    orders: tuple[AnyOrder, ...] = ()
    notes: tuple[str, ...] = ()

    def then(self, state: State, other: Decision) -> Decision:
        """Both, in order; a later record of the same thing takes the place of the earlier."""
        del state
        return merged((self, other))


NOTHING = Decision()


def merged(decisions: Iterable[Decision]) -> Decision:
    """All of them, in order."""
    records: tuple[AnyRecord, ...] = ()
    orders: tuple[AnyOrder, ...] = ()
    notes: tuple[str, ...] = ()
    for decision in decisions:
        records += decision.records
        orders += decision.orders
        notes += decision.notes
    return Decision(records=records, orders=orders, notes=notes)


CONTROLLER = "controller"
"""The name in the place of a rule's, where the controller itself has something to tell."""


def alerted(key: str, reason: str, now: float, *, campaign: str = "") -> Decision:
    """An alert of the controller itself, and the same words in the event log."""
    alert = Alert(
        campaign=campaign,
        run="",
        attempt=0,
        key=key,
        at=now,
        rule=CONTROLLER,
        action="alert",
        reason=reason,
    )
    return Decision(records=(alert,), notes=(reason,))


def who(run: RunId) -> str:
    return f"{run[0]}/{run[1]}"
