"""campaign params: how large the models of a campaign file are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import (
    FileArgument,
    HomeOption,
    JsonOption,
    OnlyOption,
    ProfileOption,
    client,
)
from campaign.cli.output import put_grid, put_json, talk, talk_next
from campaign.errors import ExitCode

if TYPE_CHECKING:
    from campaign.counting import Counted


def params(
    file: FileArgument,
    profile: ProfileOption = None,
    only: OnlyOption = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Parameters of each run's model, by group and in total."""
    del home
    try:
        found = client().params(file, profile=profile, only=tuple(only or ()))
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    for run in found.skipped:
        talk(f"{run}: left out, a command's parameters are its own affair", "dim")
    if as_json:
        put_json(found.runs)
    elif found.runs:
        put_counted(found.runs)
    chosen = [] if profile is None else ["--profile", profile]
    chosen += [word for run in only or () for word in ("--only", run)]
    talk_next(shlex.join(["campaign", "submit", str(file), *chosen, "--dry-run"]))


def put_counted(runs: Sequence[Counted]) -> None:
    """As a table; a group that no run has is no column."""
    groups = [g for g in dict.fromkeys(g for run in runs for g in run.groups) if _has(runs, g)]
    titles = [Column(title="RUN"), *(Column(title=g.upper(), right=True) for g in groups)]
    titles.append(Column(title="TOTAL", right=True))
    rows = [
        Row(
            cells=(
                Cell(text=run.run),
                *(Cell(text=_shown(run.groups.get(g))) for g in groups),
                Cell(text=_shown(run.total)),
            )
        )
        for run in runs
    ]
    put_grid(titles, rows)


def _has(runs: Sequence[Counted], group: str) -> bool:
    return any(run.groups.get(group) for run in runs)


def _shown(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
