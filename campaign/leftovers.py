"""What a controller that was killed left behind: its Ray, its link and its publisher, by identity.

Trainers are none of it: they go on under their shims, and the next controller adopts them. MLflow's UI
neither: it belongs to the `campaign ui` that serves it and ends with that.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from campaign import publishing, ray_head
from campaign.control import alive_in
from campaign.daemon import AlreadyRunning, hold_home
from campaign.home import Home
from campaign.hosts import identity

LINK_PATIENCE = 3.0
"""Seconds that a link which lost its controller gets to end by itself; it holds nothing durable."""


def end(home: Home, *, tell: Callable[[str], None] = lambda _: None) -> tuple[str, ...]:
    """End what the home has on record and no controller tends. What was ended, in words.

    The home is held meanwhile, so that no controller starts one half while the other is ended; where one
    runs, all is its own and nothing is done.
    """
    if not any(path.exists() for path in _records(home)):
        return ()
    try:
        held = hold_home(home)
    except AlreadyRunning:
        return ()
    with held:
        ended = [_end_link(home), _end_ray(home), _end_publisher(home, tell)]
        home.controller_file.unlink(missing_ok=True)
    return tuple(text for text in ended if text is not None)


def _records(home: Home) -> tuple[Path, ...]:
    return home.controller_file, home.link_file, home.ray_file, home.publisher_file


def _end_link(home: Home) -> str | None:
    """It sees that its controller is gone; while it starts Ray it does not look."""
    link = alive_in(home.link_file)
    if link is not None and not identity.wait_gone(link, LINK_PATIENCE):
        identity.send(link, signal.SIGKILL)
        identity.wait_gone(link, LINK_PATIENCE)
    home.link_file.unlink(missing_ok=True)
    return None if link is None else f"the Ray link (process {link.pid})"


def _end_ray(home: Home) -> str | None:
    head = ray_head.recorded(home)
    if head is None:
        return None
    alive = [p for p in head.processes if identity.is_alive(p)]
    left = ray_head.end(home, head)
    if left:
        return f"Ray, but for the processes {', '.join(str(p.pid) for p in left)}, which do not die"
    return f"Ray ({len(alive)} processes)" if alive else None


def _end_publisher(home: Home, tell: Callable[[str], None]) -> str | None:
    if alive_in(home.publisher_file) is not None:
        tell("waiting for the publisher to publish what there is")
    found = publishing.end(home)
    return None if found is None else f"the publisher (process {found.pid})"
