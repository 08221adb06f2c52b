"""campaign logs: what the trainer printed."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from campaign.cli.options import HomeOption, RunArgument, client
from campaign.cli.output import talk, talk_next
from campaign.errors import ExitCode

if TYPE_CHECKING:
    from campaign.api import Client

LOOK_EVERY = 0.2
_BLOCK = 65_536


def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", help="Only the last ones.", min=0)
    ] = None,
    attempt: Annotated[
        int | None, typer.Option(help="Which attempt; the newest if left out.", min=1)
    ] = None,
    home: HomeOption = None,
) -> None:
    """The log of a run's newest attempt. With -f until the run is done, over its attempts."""
    del home
    here = client()
    path = here.log(run, attempt)
    talk(f"{path}", "dim")
    try:
        with path.open("rb") as file:
            if lines is not None:
                file.seek(start_of_last(file, lines))
            shutil.copyfileobj(file, sys.stdout.buffer)
            if follow:
                _follow(here, run, path, file, stay=attempt is not None)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        sys.stdout.buffer.flush()
    talk_next(f"campaign show {run}", f"campaign logs {run} -f")


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


def _follow(here: Client, run: str, path: Path, file: BinaryIO, *, stay: bool) -> None:
    """Copy what is added, and go on with the next attempt's log, until the run is done."""
    for over in _until_done(here, run):
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        newest = path if stay else here.log(run)
        if newest != path:
            talk(f"{newest}", "dim")
            with newest.open("rb") as other:
                _follow(here, run, newest, other, stay=stay)
            return
        if over:
            return


def _until_done(here: Client, run: str) -> Iterator[bool]:
    """True once the run is done; looked at before the log is read, so that its last lines are."""
    while True:
        yield here.show(run).run.status == "done"
        time.sleep(LOOK_EVERY)
