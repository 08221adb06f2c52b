"""Following a campaign on the terminal: a live table, or one line per change where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from campaign.cli.board import bar_of, board
from campaign.cli.output import put_json, talk, talk_next
from campaign.cli.paint import paint, wants_colour, width_of
from campaign.following import Line, Snapshot, Story
from campaign.rows import RunRow

if TYPE_CHECKING:
    from rich.live import Live

    from campaign.api import Client

CONTROLLER_EVERY = 2.0


class Screen(Protocol):
    def show(self, seen: Snapshot, lines: list[Line]) -> None: ...


class Lines:
    """One line per change."""

    def show(self, seen: Snapshot, lines: list[Line]) -> None:
        del seen
        for line in lines:
            talk(f"{time.strftime('%H:%M:%S')} {line}", line.tone)


class Table:
    """A table that stays in place; what happened is printed above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, seen: Snapshot, lines: list[Line]) -> None:
        from rich.text import Text

        colour = wants_colour(sys.stderr)
        for line in lines:
            said = f"{time.strftime('%H:%M:%S')} {line}"
            self._live.console.print(Text.from_ansi(paint(said, line.tone, colour)))
        rows = board(seen.runs, width=width_of(sys.stderr), colour=colour, live=True, bar=bar_of())
        self._live.update(Text.from_ansi("\n".join(rows), no_wrap=True))


class Teller:
    """Tells the story of a campaign on a screen, look by look."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._story = Story()

    @property
    def runs(self) -> tuple[RunRow, ...]:
        """As last seen."""
        return () if self._story.last is None else self._story.last.runs

    def take(self, seen: Snapshot | None) -> None:
        if seen is not None:
            self._story, lines = self._story.go_on(seen, time.time())
            self._screen.show(seen, lines)


class JsonRows:
    """For programs: the runs that changed since the last look, one JSON line a look."""

    def __init__(self) -> None:
        self._last: dict[str, RunRow] = {}

    def show(self, seen: Snapshot, lines: list[Line]) -> None:
        del lines
        if changed := [run for run in seen.runs if self._last.get(run.run) != run]:
            put_json(changed)
        self._last = {run.run: run for run in seen.runs}


@contextmanager
def teller(*, as_json: bool = False) -> Iterator[Teller]:
    """A live table if stderr is a terminal, else one line per change; JSON lines if asked for."""
    if as_json or not wants_a_table():
        yield Teller(JsonRows() if as_json else Lines())
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
        yield Teller(Table(live))


def wants_a_table() -> bool:
    import os

    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def follow(
    client: Client, campaign: str, *, timeout: float | None = None, as_json: bool = False
) -> tuple[RunRow, ...]:
    """Until every run is done; the runs then. Raises TimedOut, and passes KeyboardInterrupt on.

    ``as_json``: what changes goes to stdout as JSON lines, not to stderr as talk.
    """
    absent = _Absence(client)
    with teller(as_json=as_json) as told, client.follow(campaign) as follower:
        for seen in follower.changes(timeout):
            told.take(seen)
            absent.look()
        return told.runs


class _Absence:
    """Says once that no controller is there: nothing new is started then."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._due = 0.0
        self._said = False

    def look(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + CONTROLLER_EVERY
        gone = self._client.controller() is None
        if gone and not self._said:
            talk("no controller runs: trainers go on, nothing new is seen or started", "notice")
            talk_next("campaign up")
        self._said = gone
