"""campaign probe: what the model in a checkpoint does."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from campaign.cli import complete
from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import HomeOption, JsonOption, client
from campaign.cli.output import put_grid, put_json, talk, talk_next
from campaign.errors import ExitCode

PROBES = {
    "spectrum": "eigenvalues of J at the equilibrium, exact; or checked by Arnoldi",
    "lyapunov": "does the free phase of T1 steps forget where it began?",
    "anderson": "no root; root with Re mu > 0; or root, stable",
    "knockout": "the residual with W_O scaled down to nothing",
    "eps-sweep": "the force residual with several eps over equal time",
    "adaptive-eps": "can any eps make Euler converge?",
    "relax": "a long free phase: root or limit cycle",
    "gradient": "every estimator against the exact gradient and BPTT",
    "compile": "is the fast arithmetic the same arithmetic, and how fast?",
    "nan": "HOPE: what goes non-finite first, block by block, and why",
    "memory": "HOPE: what memories keep and write; does it help?",
    "jump": "HOPE: the prediction for tau against the target of tau'",
}
_HELP = "\n".join(f"  {name:<13}{what}" for name, what in PROBES.items())

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help=f"{', '.join(PROBES)}.",
        autocompletion=lambda incomplete: [n for n in PROBES if n.startswith(incomplete)],
        show_default=False,
    ),
]
CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="Its directory, or RUN[@STEP|@certified|@latest].",
        autocompletion=complete.checkpoints,
        show_default=False,
    ),
]


OfOption = Annotated[
    str | None,
    typer.Option(
        help="parameters, average or both (the default).", metavar="WHICH", show_default=False
    ),
]
SequencesOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Validation sequences, or clips; as in the settings if left out.",
        metavar="N",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="CPU threads; those that there are if left out.",
        metavar="N",
        show_default=False,
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(help="A picture too: .png, .svg or .pdf.", metavar="FILE", show_default=False),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help="spectrum: blocks (all), rightmost, arnoldi.", metavar="WORD", show_default=False
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="relax, adaptive-eps: how many.", metavar="N", show_default=False),
]
TimeOption = Annotated[
    float | None,
    typer.Option(help="knockout, eps-sweep: eps x steps.", metavar="X", show_default=False),
]
T2Option = Annotated[
    str | None,
    typer.Option(
        help="gradient: adjoint steps, for instance 10,40,160.", metavar="N,...", show_default=False
    ),
]
HrOption = Annotated[
    str | None,
    typer.Option(
        help="gradient: nudge radii, for instance .005,.02.", metavar="X,...", show_default=False
    ),
]
EpsOption = Annotated[
    str | None,
    typer.Option(help="eps-sweep: step sizes.", metavar="X,...", show_default=False),
]
ScalesOption = Annotated[
    str | None,
    typer.Option(help="knockout: factors of W_O.", metavar="X,...", show_default=False),
]
IntervalOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="nan: another detach interval than the settings'; 0: never cut.",
        metavar="N",
        show_default=False,
    ),
]


def probe(
    name: NameArgument,
    checkpoint: CheckpointArgument,
    of: OfOption = None,
    sequences: SequencesOption = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, or a GPU: index, UUID or its beginning.")
    ] = "auto",
    threads: ThreadsOption = None,
    plot: PlotOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --plot.")] = False,
    method: MethodOption = None,
    steps: StepsOption = None,
    time: TimeOption = None,
    t2: T2Option = None,
    hr: HrOption = None,
    eps: EpsOption = None,
    scales: ScalesOption = None,
    interval: IntervalOption = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Measure the model in a checkpoint. It is built from the checkpoint alone."""
    del home
    from campaign.probing import Ask

    given = {
        "method": method,
        "steps": steps,
        "time": time,
        "t2": _numbers("--t2", t2, int),
        "hr": _numbers("--hr", hr, float),
        "eps": _numbers("--eps", eps, float),
        "scales": _numbers("--scales", scales, float),
        "interval": interval,
    }
    ask = Ask(
        of=of,
        sequences=sequences,
        threads=threads,
        options={option: value for option, value in given.items() if value is not None},
        plot=plot,
        replace=force,
    )
    try:
        found = client().probe(name, checkpoint, ask, device=device)
    except KeyboardInterrupt:
        talk("interrupted; nothing was written")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        put_json(found.data)
    else:
        put_found(found.columns, found.data)
    if plot is not None:
        talk(f"drawn: {plot}")
    talk_next(f"campaign probe {_another(name)} {shlex.quote(checkpoint)}")


def _another(name: str) -> str:
    """A probe that says more of what was just seen."""
    following = {"spectrum": "relax", "nan": "memory", "memory": "jump", "jump": "nan"}
    return following.get(name, "spectrum")


probe.__doc__ = f"{probe.__doc__}\n\n\b\n{_HELP}"


def put_found(columns: Sequence[str], data: Sequence[Mapping[str, Any]]) -> None:
    """As a table; what a row found stands at its end."""
    titles = [Column(title=name.upper(), right=_numeric(name, data)) for name in columns]
    rows = [
        Row(
            cells=tuple(Cell(text=shown(row.get(name))) for name in columns),
            note=str(row.get("finding", "")),
        )
        for row in data
    ]
    put_grid(titles, rows, note="FINDING")


def shown(value: object) -> str:
    """A cell: few digits, but more of a cosine near one; nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        near_one = 0.99 <= abs(value) < 1
        return f"{value:.7f}".rstrip("0").rstrip(".") if near_one else f"{value:.4g}"
    return str(value)


def _numeric(name: str, data: Sequence[Mapping[str, Any]]) -> bool:
    return all(row.get(name) is None or isinstance(row[name], (int, float)) for row in data)


def _numbers(option: str, text: str | None, kind: Callable[[str], float]) -> list[float] | None:
    """``10,40,160`` as numbers."""
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise typer.BadParameter(
            f"{option} takes {what} with commas between; got {text!r}"
        ) from None
