"""campaign import-flags: a command line of the documented EP trainer as a campaign file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from campaign.cli.output import put, talk, talk_next
from campaign.cli.undone import undone
from campaign.errors import NotFound, WrongState

CONTEXT = {"ignore_unknown_options": True}
"""The flags to import may stand without quotes: they are not options of this verb."""


def import_flags(
    flags: Annotated[
        list[str],
        typer.Argument(
            metavar="'FLAGS'", help="The command line, best in quotes.", show_default=False
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the campaign and of its run.")] = "imported",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there, never over a file.", show_default=False),
    ] = None,
    warm_from: Annotated[
        str | None,
        typer.Option(
            metavar="CAMPAIGN/RUN",
            help="The run that takes the place of the file of --init_ckpt.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """A command line of the documented EP trainer as a campaign file.

    What cannot be carried over is told, all at once (exit code 3), or, where it changes nothing of the
    training, in a comment of the file. docs/ep.md has the table.
    """
    from specs.import_flags import import_flags as translate

    # one word is the whole line; several are what a shell made of it
    line = flags[0] if len(flags) == 1 else shlex.join(flags)
    with undone("no campaign was made"):
        text = translate(line, name=name, warm_from=warm_from)
    if out is None:
        put(text.rstrip("\n"))
        return
    _write(out, text)
    talk(f"wrote {out}")
    talk_next(f"campaign submit {out} --dry-run")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise WrongState(f"{path} is there already, and is not written over") from None
    except OSError as error:
        raise NotFound(f"{path} cannot be written: {error.strerror}") from error
