"""campaign kill: stop at once."""

from __future__ import annotations

from campaign.cli.cancel import WholeOption, stop
from campaign.cli.options import HomeOption, RunsArgument, client


def kill(runs: RunsArgument = None, campaign: WholeOption = None, home: HomeOption = None) -> None:
    """Stop runs at once, without the time to save. `cancel` is the gentle way."""
    del home
    here = client()
    stop(here, here.kill, runs, campaign)
