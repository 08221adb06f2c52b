"""campaign logs: what the trainer printed."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Protocol

import typer

from campaign.cli.hints import after
from campaign.cli.options import HomeOption, JsonLinesOption, RunArgument, client
from campaign.cli.output import put_json, talk, talk_next
from campaign.errors import ExitCode, LogNotYet, NotFound
from specs.files import attempt_number

if TYPE_CHECKING:
    from campaign.api import Client

LOOK_EVERY = 0.2
_BLOCK = 65_536


def logs(
    run: RunArgument,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on with what comes; wait if there is nothing yet."),
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", metavar="N", help="Only the last ones.", min=0)
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", help="Which attempt; the newest if left out.", min=1)
    ] = None,
    as_json: JsonLinesOption = False,
    home: HomeOption = None,
) -> None:
    """The log of a run's newest attempt. With -f until the run is done, over its attempts.

    With --json every line of the log is a JSON line of its own.
    """
    del home
    here = client()
    out: Sink = AsJson() if as_json else AsIs()
    try:
        first = _awaited(here, run, attempt) if follow else here.log(run, attempt)
        _copy(here, run, first, out, lines=lines, follow=follow, stay=attempt is not None)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    talk_next(*after(here, here.show(run).run, log=False))


class Sink(Protocol):
    """Where a log goes."""

    def take(self, file: BinaryIO, log: Path) -> None:
        """Everything from where ``file`` stands."""

    def end(self, log: Path) -> None:
        """No more comes of this log."""


class AsIs:
    def take(self, file: BinaryIO, log: Path) -> None:
        del log
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    def end(self, log: Path) -> None:
        del log


class AsJson:
    """``{"attempt": 1, "line": "..."}`` in the envelope, a line of the log each; bytes that are no UTF-8 are replaced."""

    def __init__(self) -> None:
        self._torn = b""

    def take(self, file: BinaryIO, log: Path) -> None:
        for line in file:
            self._torn += line
            if self._torn.endswith(b"\n"):
                self.end(log)

    def end(self, log: Path) -> None:
        if self._torn:
            text = self._torn.decode(errors="replace").rstrip("\r\n")
            put_json([{"attempt": attempt_number(log.parent), "line": text}])
        self._torn = b""


def start_of_last(file: BinaryIO, lines: int) -> int:
    """Where the last ``lines`` lines begin; the file is read from its end, block by block."""
    end = file.seek(0, 2)
    position, newlines = end, 0
    while position > 0:
        begin = max(0, position - _BLOCK)
        file.seek(begin)
        block = file.read(position - begin)
        for index in range(len(block) - 1, -1, -1):
            is_last = begin + index == end - 1
            if block[index : index + 1] == b"\n" and not is_last:
                newlines += 1
                if newlines == lines:
                    return begin + index + 1
        position = begin
    return 0 if lines else end


def _awaited(here: Client, run: str, attempt: int | None) -> Path:
    """The log, once it is there. Raises NotFound where the run is done without it."""
    said = False
    while True:
        over = _is_done(here, run)
        try:
            return here.log(run, attempt)
        except LogNotYet as error:
            row = here.show(run).run
            if over:
                raise NotFound(f"{error}, and the run is done: {row.reason}") from error
            if not said:
                talk(
                    f"{error} ({row.status}: {row.reason}); waiting for it, Ctrl-C ends that",
                    "notice",
                )
            said = True
        time.sleep(LOOK_EVERY)


def _copy(
    here: Client,
    run: str,
    first: Path,
    out: Sink,
    *,
    lines: int | None,
    follow: bool,
    stay: bool,
) -> None:
    """One log from its last ``lines`` lines on; followed: until the run is done, over its attempts."""
    log: Path | None = first
    while log is not None:
        talk(f"{log}", "dim")
        with log.open("rb") as file:
            if lines is not None and log == first:
                file.seek(start_of_last(file, lines))
            out.take(file, log)
            then = _follow(here, run, log, file, out, stay=stay) if follow else None
            out.end(log)
        log = then


def _follow(
    here: Client, run: str, log: Path, file: BinaryIO, out: Sink, *, stay: bool
) -> Path | None:
    """Copy what is added, until the next attempt has a log, which is returned, or the run is done."""
    while True:
        over = _is_done(here, run)
        newest = log if stay else _newest(here, run) or log
        out.take(file, log)  # after the look, so that its last lines are not missed
        if newest != log:
            return newest
        if over:
            return None
        time.sleep(LOOK_EVERY)


def _newest(here: Client, run: str) -> Path | None:
    try:
        return here.log(run)
    except LogNotYet:
        return None


def _is_done(here: Client, run: str) -> bool:
    """Asked before the log is read, so that its last lines are."""
    return here.show(run).run.status == "done"
