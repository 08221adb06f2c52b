"""campaign config: what the configuration files say."""

from __future__ import annotations

import typer

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import HomeOption, JsonOption, client
from campaign.cli.output import put_grid, put_json, talk

config = typer.Typer(no_args_is_help=True, help="What the configuration files say.")


@config.command("show")
def show(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Every value and the file that gave it. Exclusions of GPUs add up over all files."""
    del home
    rows = client().config().show()
    if as_json:
        put_json(rows)
        return
    put_grid(
        (Column(title="KEY"), Column(title="VALUE")),
        [Row(cells=(Cell(text=row.key), Cell(text=row.value)), note=row.origin) for row in rows],
        note="FROM",
    )
    talk("files: /etc/campaign.toml, the user's campaign.toml, the home's; a later one wins", "dim")
