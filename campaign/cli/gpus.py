"""campaign gpus: who has which device, and why nobody may have the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from campaign.cli.grid import Cell, Column, Row
from campaign.cli.options import HomeOption, JsonOption, client
from campaign.cli.output import put, put_grid, put_json, talk, talk_all, talk_next
from campaign.cli.paint import tone_of
from campaign.cli.words import memory, moment, short_device

if TYPE_CHECKING:
    from campaign.devices import DeviceRow

_COLUMNS = (
    Column(title="DEVICE"),
    Column(title="HOST"),
    Column(title="#", right=True),
    Column(title="NAME"),
    Column(title="MEMORY", right=True),
    Column(title="USE"),
    Column(title="RUN"),
    Column(title="USER"),
    Column(title="SEEN"),
)

_PROBES = {
    "real": "GPUs as NVML sees them",
    "none": "no NVML library, so no GPU",
    "fake": "SIMULATED GPUs",
    "unknown": "NVML gives no answer, so nothing is known of its GPUs",
}


def gpus(
    as_json: JsonOption = False,
    ray_resources: Annotated[
        bool,
        typer.Option(
            "--ray-resources", help='For a node that joins: ray start --resources="$(...)".'
        ),
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="UUID", help="Lift the quarantine of a device you checked.", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Every GPU and CPU slot: who has it, or why nobody may."""
    del home
    here = client()
    if ray_resources:
        put(json.dumps(here.ray_resources()))
        return
    if release is not None:
        put(here.release(release))
        talk_next("campaign gpus")
        return
    found = here.gpus()
    if found.simulated:
        talk("SIMULATED: these devices come from a script (CAMPAIGN_FAKE_GPUS)", "alarm")
    if as_json:
        put_json(found.rows)
    else:
        put_grid(_COLUMNS, [_row(row) for row in found.rows], note="WHY")
    talk(", ".join(f"{host}: {_PROBES[probe]}" for host, probe in found.probes.items()), "dim")
    talk_all(found.problems, "notice")
    talk_next("campaign ls", "campaign config show")


def _row(row: DeviceRow) -> Row:
    return Row(
        cells=(
            Cell(text=short_device(row.device)),
            Cell(text=row.host),
            Cell(text=str(row.index)),
            Cell(
                text=f"{row.name} SIMULATED"
                if row.probe == "fake" and row.kind == "gpu"
                else row.name
            ),
            Cell(text=memory(row.memory_used, row.memory_total)),
            Cell(text=row.use, tone=tone_of(row.use)),
            Cell(text="" if row.owner is None else f"{row.owner}:{row.attempt}"),
            Cell(text=", ".join(row.users)),
            Cell(text="" if row.use != "down" else moment(row.seen_at)),
        ),
        note=row.why,
    )
