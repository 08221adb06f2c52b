"""campaign up: start the controller, to stay."""

from __future__ import annotations

from typing import Annotated

import typer

from campaign.cli.options import HomeOption, client
from campaign.cli.output import put, talk, talk_next


def up(
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Join this Ray cluster.", show_default=False),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Start the controller of this home. It takes over every trainer that runs."""
    del home
    here = client()
    before = here.controller()
    found = here.up(ray_address=ray_address)
    same = before is not None and before.identity == found.identity
    put(f"the controller {'runs already' if same else 'is up'}: process {found.identity.pid}")
    if found.idle_exit is not None:
        talk(f"it ends itself after {found.idle_exit / 60:.0f} idle minutes, and comes with submit")
    talk(f"log: {here.home.controller_log}", "dim")
    talk_next("campaign ls", "campaign gpus", "campaign down")
