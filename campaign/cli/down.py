"""campaign down: end the controller and what it started."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign.cli.options import HomeOption, client
from campaign.cli.output import put, talk_next


def down(
    stop_runs: Annotated[
        bool, typer.Option("--stop-runs", help="Stop the runs first; they may save.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """End the controller, its Ray and the publisher. Trainers go on, unless --stop-runs."""
    del home
    here = client()
    ended = here.down(stop_runs=stop_runs)
    if ended is None:
        put(f"no controller runs for {here.home.root}")
    else:
        put(f"the controller has ended (process {ended.identity.pid})")
    active = [run.name for run in here.runs() if run.status == "active"]
    if active:
        put(f"still running, unwatched from here: {', '.join(active)}")
        talk_next("campaign up", "campaign down --stop-runs")
