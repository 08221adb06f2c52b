"""Requests of a client to the controller: what each one holds, whether it makes sense, and its answer.

The commit of a request is its acknowledgement: what is asked stays asked, whoever lives to take it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from campaign import control
from campaign.errors import ControllerDown, NoCheckpoint, NotFound, WrongState
from campaign.home import Home
from campaign.naming import RunName
from campaign.rows import RunRow

if TYPE_CHECKING:  # these bring pydantic, which reading does without
    from campaign.state import State
    from campaign.store import Store

ANSWER_DEADLINE = 15.0
REFUSED = "refused:"
"""How the answer to a request begins that the controller could not read."""

_LOOK_EVERY = 0.02


@contextmanager
def opened(home: Home) -> Iterator[Store]:
    """The store of a home, which is made where there is none."""
    from campaign.store import Store

    home.create()
    store = Store(home.store)
    try:
        yield store
    finally:
        store.close()


def ask(home: Home, kind: str, payload: Mapping[str, Any], *, start: Callable[[], object]) -> str:
    """Make a request, see to it by ``start`` that a controller runs, and wait for its answer.

    Raises WrongState where it is refused, ControllerDown where no answer comes; the request stays, and
    will be taken.
    """
    with opened(home) as store:
        request = store.request(kind, payload, time.time())
        start()
        until = time.monotonic() + ANSWER_DEADLINE
        while time.monotonic() < until:
            if (answer := store.answer_of(request)) is not None:
                if answer.startswith(REFUSED):
                    raise WrongState(answer)
                return answer
            time.sleep(_LOOK_EVERY)
    raise ControllerDown(
        f"the request is kept (number {request}), but the controller has not taken it within "
        f"{ANSWER_DEADLINE:.0f} s; the end of its log:\n{control.tail(home)}"
    )


def stop_of(
    names: Sequence[RunName], rows: Sequence[RunRow], *, kill: bool, reason: str
) -> dict[str, Any]:
    """The request to stop runs. Raises WrongState if all of them are done already."""
    status = {(row.campaign, row.run): row for row in rows}
    done = [name for name in names if status[name].status == "done"]
    if done and len(done) == len(names):
        how = ", ".join(f"{c}/{r} is done already: {status[c, r].result}" for c, r in done)
        raise WrongState(f"{how}\n  campaign show {'/'.join(done[0])}")
    return {"runs": names, "kill": kill, "by": "user", "reason": reason}


def resume_of(home: Home, name: RunName, origin: str | int) -> dict[str, Any]:
    """The request to queue a done run again.

    Raises WrongState if it is not done, NoCheckpoint if there is nothing of the kind ``origin``.
    """
    from campaign import resuming
    from campaign.decide import resume_plan
    from campaign.starts import Ready

    with opened(home) as store:
        state = store.load()
    record = state.runs.get(name)
    if record is None or record.status.status != "done":
        status = "queued" if record is None else record.status.status
        raise WrongState(f"{'/'.join(name)} is {status}: only a run that is done is resumed")
    found = resume_plan(state, record, origin)
    if not isinstance(found, Ready):
        raise NoCheckpoint(
            f"{'/'.join(name)} is not resumed: {found.why}\n{resuming.instead(state, record)}"
        )
    return {"run": list(name), "origin": origin}


def origins_of(home: Home, name: RunName) -> tuple[str, ...]:
    """Whence `resume_of` would let a run go on now; none while it is not done."""
    from campaign import resuming

    state = _read(home)
    record = state.runs.get(name)
    return () if record is None else resuming.origins(state, record)


def lift_of(device: str, quarantined: Sequence[str]) -> dict[str, Any]:
    """The request to lift a quarantine. Raises NotFound unless ``device`` begins the name of one."""
    found = [name for name in quarantined if name.lower().startswith(device.lower())]
    if len(found) != 1:
        there = ", ".join(quarantined) or "no device"
        raise NotFound(
            f"{device!r} is not one device in quarantine; in quarantine: {there}\n  campaign gpus"
        )
    return {"device": found[0]}


def _read(home: Home) -> State:
    from campaign.store import Store

    store = Store(home.store, readonly=True)
    try:
        return store.load()
    finally:
        store.close()
