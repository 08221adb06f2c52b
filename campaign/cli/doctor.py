"""campaign doctor: is this machine fit?"""

from __future__ import annotations

import typer

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import HomeOption, JsonOption, client
from campaign.cli.output import put_grid, put_json, talk, talk_next
from campaign.cli.paint import tone_of
from campaign.errors import ExitCode


def doctor(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Check whether this machine can run campaigns safely. Exit code 8 if not."""
    del home
    found = client().doctor()
    if as_json:
        put_json(found)
    else:
        put_grid(
            (Column(title=""), Column(title="CHECK")),
            [
                Row(
                    cells=(
                        Cell(text=finding.level.value, tone=tone_of(finding.level.value)),
                        Cell(text=finding.check),
                    ),
                    note=f"{finding.sentence} {_advice(finding.advice)}",
                )
                for finding in found
            ],
        )
    failed = sum(finding.level.value == "fail" for finding in found)
    if failed:
        talk(f"{failed} of {len(found)} checks failed: runs must not be started here", "bad")
        raise typer.Exit(ExitCode.DOCTOR)
    talk_next("campaign gpus", "campaign submit FILE")


def _advice(text: str) -> str:
    return f"-> {text}" if text else ""
