"""The controller's process as others see it: is it there, start it, wait for it to end."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from campaign.errors import ControllerDown
from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from specs import files

IDLE_EXIT = 600.0
"""Seconds without work after which a controller that was started by the way ends itself."""

START_DEADLINE = 30.0
DOWN_DEADLINE = 300.0
"""Seconds for the runs to stop, and then for the controller to end."""

_LOOK_EVERY = 0.05
_TRIES = 2
_TAIL = 15


@dataclass(frozen=True, kw_only=True)
class Controller:
    """The controller of a home, as it announced itself in controller.json."""

    identity: Identity
    since: float
    ray_address: str | None
    idle_exit: float | None
    debug: bool


def running(home: Home) -> Controller | None:
    """The controller that is alive now; None if there is none."""
    record = files.read_json(home.controller_file)
    if record is None:
        return None
    found = Controller(
        identity=Identity(
            boot_id=record["boot_id"], pid=record["pid"], start_ticks=record["start_ticks"]
        ),
        since=record["since"],
        ray_address=record["ray_address"],
        idle_exit=record["idle_exit"],
        debug=record["debug"],
    )
    return found if identity.is_alive(found.identity) else None


def alive_in(path: Path) -> Identity | None:
    """The process that a file of the home names, if it is alive."""
    record = files.read_json(path)
    if record is None:
        return None
    found = identity.from_json(record, boot=record["boot_id"], cookie=None)
    return found if found is not None and identity.is_alive(found) else None


def last_address(home: Home) -> str | None:
    """The cluster that the last controller had joined; None where it had a head of its own, or ended in order."""
    record = files.read_json(home.controller_file)
    return None if record is None else record["ray_address"]


def find(home: Home, *, deadline: float = START_DEADLINE) -> Controller | None:
    """The controller that is alive, or just coming up; None if nobody holds the home."""
    until = time.monotonic() + deadline
    while (found := running(home)) is None and time.monotonic() < until:
        if _lock_is_free(home):
            return None
        time.sleep(_LOOK_EVERY)
    return found


def start(
    home: Home,
    *,
    idle_exit: float | None,
    ray_address: str | None = None,
    deadline: float = START_DEADLINE,
) -> Controller:
    """Start the controller in a session of its own and wait until it is up (seconds).

    If another one comes up first, that one is meant. Raises ControllerDown with the end of its log.
    """
    until = time.monotonic() + deadline
    child: subprocess.Popen[bytes] | None = None
    tries = 0
    while time.monotonic() < until:
        if (found := running(home)) is not None:
            return found
        if child is not None and child.poll() is not None:
            child = None
        if child is None and _lock_is_free(home):
            if tries == _TRIES:
                break
            child, tries = _spawn(home, idle_exit=idle_exit, ray_address=ray_address), tries + 1
        time.sleep(_LOOK_EVERY)
    raise ControllerDown(
        f"the controller of {home.root} did not come up; the end of {home.controller_log}:\n"
        + tail(home)
        + "\n  what was submitted is kept; this looks for the cause:\n  campaign doctor"
    )


def wait_gone(
    home: Home, controller: Controller, *, deadline: float, tell: Callable[[str], None]
) -> None:
    """Wait until the controller has ended. Raises ControllerDown after ``deadline`` seconds."""
    at_once = min(deadline, 3.0)
    if identity.wait_gone(controller.identity, at_once):
        return
    tell(f"waiting for the controller to end what it started, {deadline:.0f} s at most")
    if not identity.wait_gone(controller.identity, deadline - at_once):
        raise ControllerDown(
            f"the controller, process {controller.identity.pid}, has not ended after "
            f"{deadline:.0f} s; the end of {home.controller_log}:\n{tail(home)}"
        )


def tail(home: Home) -> str:
    """The end of the controller's log, indented."""
    try:
        lines = home.controller_log.read_text(errors="replace").splitlines()[-_TAIL:]
    except FileNotFoundError:
        lines = []
    return "\n".join(f"  {line}" for line in lines) or "  (it is empty)"


def _spawn(
    home: Home, *, idle_exit: float | None, ray_address: str | None
) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-P", "-m", "campaign.daemon", "--home", str(home.root)]
    if idle_exit is not None:
        argv += ["--idle-exit", f"{idle_exit:g}"]
    if ray_address is not None:
        argv += ["--ray-address", ray_address]
    with home.controller_log.open("ab") as log:
        return subprocess.Popen(
            argv,
            cwd=home.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _lock_is_free(home: Home) -> bool:
    """Whether nobody holds the home. A starting controller that meets this look starts once more."""
    with home.controller_lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
