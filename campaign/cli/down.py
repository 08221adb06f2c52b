"""campaign down: end the controller and what it started."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign.cli.options import HomeOption, client
from campaign.cli.output import put, talk_next
from campaign.control import DOWN_DEADLINE
from campaign.errors import ExitCode


def down(
    stop_runs: Annotated[
        bool, typer.Option("--stop-runs", help="Stop the runs first; they may save.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.0, help="Seconds for the runs to stop; those that have not: exit code 7."
        ),
    ] = DOWN_DEADLINE,
    home: HomeOption = None,
) -> None:
    """End the controller, its Ray and the publisher. Trainers go on, unless --stop-runs."""
    del home
    here = client()
    done = here.down(stop_runs=stop_runs, timeout=timeout)
    if done.controller is not None:
        put(f"the controller has ended (process {done.controller.identity.pid})")
    for what in done.ended:
        put(f"ended: {what}")
    if done.controller is None and not done.ended:
        put(f"nothing runs for {here.home.root}")
    for run in done.unstopped:
        put(f"not stopped: {run.run} on {run.host}: {run.why}")
    active = [run.name for run in here.runs() if run.status == "active"]
    if active:
        put(f"still running, unwatched from here: {', '.join(active)}")
        talk_next("campaign up", "campaign down --stop-runs")
    if done.unstopped:
        raise typer.Exit(ExitCode.PARTLY_DONE)
