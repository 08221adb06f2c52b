"""`campaign down`: end the controller and what it started, or what a killed one left behind.

With ``stop_runs`` the runs are stopped first, by a controller: one is started for the purpose where none
lives, so that the store stays true. What cannot be stopped in time is said, and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from campaign import control, leftovers
from campaign.control import Controller
from campaign.home import Home
from campaign.hosts import identity
from campaign.store import Store
from campaign.views import Reader

SILENT_AFTER = 20.0
"""Seconds without a sign of a host, which gives one every five, after which it counts as absent."""

_LOOK_EVERY = 1.0
_TELL_EVERY = 30.0


@dataclass(frozen=True, kw_only=True)
class Unstopped:
    """A run whose devices are still held. ``why``: what it waits for."""

    run: str
    host: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Down:
    """``controller``: that was ended, if any. ``ended``: what was left of an earlier one, in words.

    ``unstopped``: runs that were to be stopped and still hold their devices.
    """

    controller: Controller | None
    ended: tuple[str, ...] = ()
    unstopped: tuple[Unstopped, ...] = ()


def down(home: Home, *, stop_runs: bool, timeout: float, tell: Callable[[str], None]) -> Down:
    """``timeout``: seconds for the runs to stop. Raises ControllerDown if the controller does not end."""
    if not home.root.is_dir():
        return Down(controller=None)
    found = control.find(home)
    if found is None and (reason := _why_start(home, stop_runs)):
        tell(f"starting a controller {reason}")
        address = control.last_address(home)
        found = control.start(home, idle_exit=control.IDLE_EXIT, ray_address=address)
    unstopped: tuple[Unstopped, ...] = ()
    if found is not None:
        if stop_runs:
            unstopped = _stop_runs(home, found, timeout, tell)
        if identity.is_alive(found.identity):
            _request(home, stop_runs=False)
        control.wait_gone(home, found, deadline=control.DOWN_DEADLINE, tell=tell)
    return Down(controller=found, ended=leftovers.end(home, tell=tell), unstopped=unstopped)


def _why_start(home: Home, stop_runs: bool) -> str | None:
    """What needs a controller though none lives; None where nothing does."""
    if control.last_address(home) is not None:
        return "to end what the last one left in the Ray cluster that it had joined"
    if stop_runs and held_runs(home):
        return "to stop the runs"
    return None


def _request(home: Home, *, stop_runs: bool) -> None:
    store = Store(home.store)
    try:
        store.request("down", {"stop_runs": stop_runs}, time.time())
    finally:
        store.close()


def _stop_runs(
    home: Home, controller: Controller, timeout: float, tell: Callable[[str], None]
) -> tuple[Unstopped, ...]:
    """Have all runs stopped; the ones that are not after ``timeout`` seconds."""
    _request(home, stop_runs=True)
    until = time.monotonic() + timeout
    told, tell_again = "", 0.0
    while (left := until - time.monotonic()) > 0:
        if identity.wait_gone(controller.identity, min(_LOOK_EVERY, left)):
            break
        waiting = waits_for(held_runs(home, since=controller.since))
        if waiting and (waiting != told or time.monotonic() >= tell_again):
            told, tell_again = waiting, time.monotonic() + _TELL_EVERY
            tell(f"{waiting}; {max(0.0, until - time.monotonic()):.0f} s at most")
    return held_runs(home, since=controller.since)


def held_runs(home: Home, *, since: float = 0.0) -> tuple[Unstopped, ...]:
    """Runs with a device that is not given back yet, and what keeps each.

    ``since``: when the controller came up (unix seconds); it could not hear of a host before.
    """
    now = time.time()
    with Reader(home.store) as reader:
        attempts = {a.directory: a for a in reader.leases().values()}
        absent = {
            host["name"]: _absence(host["up"], now - max(host["seen_at"], since))
            for host in reader.hosts()
        }
    return tuple(
        Unstopped(
            run=f"{a.campaign}/{a.run}",
            host=a.host,
            why=absent.get(a.host) or _HOW[a.status],
        )
        for _, a in sorted(attempts.items())
    )


_HOW = {
    "starting": "it is just starting",
    "running": "it has not heard of the stop yet",
    "stopping": "it was told to stop and may save (limits.grace)",
    "done": "it has ended, and its devices are not given back yet",
}


def _absence(up: bool, silent_for: float) -> str | None:
    """Why a host cannot be told anything; None where it can."""
    if up and silent_for < SILENT_AFTER:
        return None
    return f"its host has not answered for {silent_for:.0f} s"


def waits_for(runs: Sequence[Unstopped]) -> str:
    """One line for a person; empty where there is nothing to wait for."""
    if not runs:
        return ""
    shown = "; ".join(f"{run.run} on {run.host}: {run.why}" for run in runs[:_MOST])
    more = f"; and {len(runs) - _MOST} more" if len(runs) > _MOST else ""
    return f"waiting for {len(runs)} run{'' if len(runs) == 1 else 's'} to stop: {shown}{more}"


_MOST = 5
