"""campaign data: clips for the HOPE trainer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import HomeOption, JsonOption, client
from campaign.cli.output import put_grid, put_json, talk
from campaign.cli.paint import wants_colour
from campaign.errors import ExitCode

if TYPE_CHECKING:
    from campaign.clip_making import EncodeClips, Made, MakeClips, Progress

data = typer.Typer(no_args_is_help=True, help="Clips for the HOPE trainer.")

_STEPS_TOLD = 4  # of a task, where there is no terminal to draw a bar on

TASK_HELP = "base, scaling, dissipation, discretization, kinematics, compositional_ood; friction is all six."
TasksArgument = Annotated[
    list[str], typer.Argument(metavar="TASK...", help=TASK_HELP, show_default=False)
]
OutOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="Clips go to DIR/TASK; those that are there stay.", show_default=False
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, or a GPU: index, UUID or its beginning.")
]
FramesOption = Annotated[
    int, typer.Option(metavar="N", min=2, max=64, help="Encoded frames, of two pictures each.")
]


@data.command("make")
def make(
    tasks: TasksArgument,
    out: OutOption,
    clips: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="Of every task.")
    ] = 200,
    grid: Annotated[
        str, typer.Option(metavar="ROWSxCOLUMNS", help="Patches of a frame.")
    ] = "16x16",
    feature_width: Annotated[
        int, typer.Option(metavar="N", min=4, help="Features of a patch.")
    ] = 1024,
    frames: FramesOption = 8,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1)] = 0,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Clips of a puck on a table, in the documented layout, with a picture of the first ones.

    Run again it makes what is missing.
    """
    del home
    from campaign.clip_making import MakeClips, known_tasks

    ask = MakeClips(
        tasks=known_tasks(tuple(tasks)),
        out=str(out.absolute()),
        clips=clips,
        grid=_grid(grid),
        feature_width=feature_width,
        frames=frames,
        seed=seed,
    )
    _write(ask, device, as_json)


@data.command("encode")
def encode(
    videos: Annotated[
        Path,
        typer.Argument(
            metavar="VIDEOS",
            help="Has TASK/NAME.mp4 (or .npy, .mov, .mkv, .webm, .avi) with TASK/NAME.actions.npy.",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="A V-JEPA 2 checkpoint of transformers.", show_default=False
        ),
    ],
    out: OutOption,
    frames: FramesOption = 8,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Features of videos by a local V-JEPA 2 checkpoint, in the documented layout.

    Needs the extra: pip install 'campaign[vjepa]'.
    """
    del home
    from campaign.clip_making import EncodeClips

    ask = EncodeClips(
        videos=str(videos.absolute()),
        checkpoint=str(checkpoint.absolute()),
        out=str(out.absolute()),
        frames=frames,
    )
    _write(ask, device, as_json)


def _write(ask: MakeClips | EncodeClips, device: str, as_json: bool) -> None:
    try:
        with _shown() as progress:
            made = client().write_clips(ask, device=device, progress=progress)
    except KeyboardInterrupt:
        talk("interrupted; whole clips stay, the same command makes the rest")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        put_json(made)
    else:
        _put(made)


def _put(made: tuple[Made, ...]) -> None:
    titles = (
        Column(title="TASK"),
        Column(title="CLIPS", right=True),
        Column(title="NEW", right=True),
    )
    rows = [
        Row(
            cells=(Cell(text=row.task), Cell(text=str(row.clips)), Cell(text=str(row.made))),
            note=row.contact_sheet,
        )
        for row in made
    ]
    put_grid(titles, rows, note="PICTURE")


@contextmanager
def _shown() -> Iterator[Progress]:
    """A bar a task on a terminal; elsewhere a line now and then."""
    if not wants_colour(sys.stderr):
        yield _Lines().show
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    look = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*look, console=Console(stderr=True)) as bars:
        known: dict[str, int] = {}

        def show(task: str, at: int, of: int) -> None:
            bar = known.get(task)
            if bar is None:
                known[task] = bar = int(bars.add_task(task, total=of))
            bars.update(bars.task_ids[bar], completed=at)

        yield show


class _Lines:
    """Says every quarter of a task."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def show(self, task: str, at: int, of: int) -> None:
        quarter = _STEPS_TOLD * at // max(1, of)
        if quarter > self._told.get(task, -1):
            self._told[task] = quarter
            talk(f"{task}: {at} of {of} clips", "dim")


def _grid(text: str) -> tuple[int, int]:
    """``4x4`` as numbers."""
    rows, _, columns = text.partition("x")
    if not (
        rows.isdecimal()
        and columns.isdecimal()
        and 1 <= int(rows) <= 64
        and 1 <= int(columns) <= 64
    ):
        raise typer.BadParameter(
            f"--grid takes rows x columns, 1 to 64 each, for instance 4x4; got {text!r}"
        )
    return int(rows), int(columns)
