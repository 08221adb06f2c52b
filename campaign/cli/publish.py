"""campaign publish: attempts that ran elsewhere into MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from campaign.cli.options import HomeOption


def publish(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A home, a campaign, a run or an attempt.")
    ],
    home: HomeOption = None,
) -> None:
    """Mirror attempts that ran elsewhere into MLflow. Twice does no harm."""
    del home
