"""A probe of a checkpoint: which checkpoint and which device are meant, and the process that measures.

The measuring needs torch, so it happens in a child, with the environment of a trainer and one GPU at most.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign import children, probe_table
from campaign.devices import DeviceRow
from campaign.errors import CampaignError, NotFound, WrongState
from campaign.gpus import refs
from campaign.gpus.probe import Device, DeviceKind
from campaign.naming import RunName
from campaign.probe_table import BadProbe
from campaign.rows import CheckpointRow

AUTO, CPU, CUDA = "auto", "cpu", "cuda"
MOST_THREADS = 16


class ProbeFailed(CampaignError):
    """The measuring process ended without an answer."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """Rows as in docs/cli.md, and which of their fields make the table."""

    columns: tuple[str, ...]
    data: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the child measures: its torch device, and what its environment says of GPUs."""

    device: str
    environment: Mapping[str, str]
    told: str = ""  # a sentence for people


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is to be measured; None leaves the choice to the probe."""

    of: str | None = None
    sequences: int | None = None
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    plot: Path | None = None
    replace: bool = False


def check(name: str, ask: Ask) -> None:
    """What can be refused without torch. Raises BadProbe, WrongState."""
    probe_table.check(name, ask.options, of=ask.of, plot=ask.plot, replace=ask.replace)


# ---------------------------------------------------------------- which checkpoint


def split(text: str) -> tuple[str, str]:
    """``RUN@WHICH``; WHICH is a step, ``certified`` or ``latest`` (also where it is left out). Raises BadProbe."""
    run, _, which = text.partition("@")
    which = which or "latest"
    if which in ("latest", "certified") or which.isdecimal():
        return run, which
    raise BadProbe(
        f"{text!r}: behind the @ stands a step, certified or latest; a checkpoint is a directory or RUN[@...]"
    )


def pick(run: RunName, which: str, rows: Iterable[CheckpointRow]) -> Path:
    """The directory of the newest checkpoint that is meant. Raises NotFound naming those there are."""
    name = "/".join(run)
    known = [row for row in rows if (row.campaign, row.run) == run]
    found = [row for row in known if _meant(row, which)]
    if not found:
        there = ", ".join(f"{row.step} ({row.status})" for row in known[-8:]) or "none"
        raise NotFound(
            f"{name} has no checkpoint {which}; there are: {there}\n  campaign checkpoints {name}"
        )
    newest = max(found, key=lambda row: (row.attempt, row.step))
    path = Path(newest.path)
    if not path.is_dir():
        raise NotFound(f"{path} is not on this machine; it was written on {newest.host}")
    return path


def _meant(row: CheckpointRow, which: str) -> bool:
    if which.isdecimal():
        return row.step == int(which)
    return row.status == "certified" if which == "certified" else row.status != "retired"


# ---------------------------------------------------------------- which device


def place(wanted: str, rows: Sequence[DeviceRow], *, host: str) -> Place:
    """``auto`` is a free GPU of this host, else the CPU; ``cuda`` insists on one; else a GPU as people name it.

    Raises NotFound for a GPU that is not there, WrongState for one that may not be used or that nobody can tell of.
    """
    if wanted == CPU:
        return _cpu()
    gpus = [row for row in rows if row.kind == DeviceKind.GPU.value and row.host == host]
    real = [row for row in gpus if row.probe == "real"]
    if wanted in (AUTO, CUDA):
        free = [row for row in real if row.use == "free"]
        if free:
            return _gpu(free[0])
        why = "; ".join(f"{row.device[:12]} is {row.use}" for row in gpus) or "there is none"
        if wanted == CUDA:
            raise WrongState(f"no GPU of this machine is free: {why}\n  campaign gpus")
        return _cpu(f"no free GPU ({why}): on the CPU" if gpus else "")
    return _gpu(_named(wanted, gpus))


def _named(wanted: str, gpus: Sequence[DeviceRow]) -> DeviceRow:
    try:
        ref = refs.parse(wanted)
    except refs.BadRef as error:
        raise BadProbe(f"--device: {error}; or auto, cpu, cuda") from error
    devices = {_device(row).id: row for row in gpus}
    found = refs.find(ref, [_device(row) for row in gpus])
    if len(found) != 1:
        there = ", ".join(devices) or "no GPU"
        raise NotFound(f"{wanted} is not one GPU of this machine; there is {there}")
    row = devices[found[0].id]
    if row.use != "free" or row.probe != "real":
        raise WrongState(f"{row.device} is {row.use}: {row.why or row.owner or 'simulated'}")
    return row


def _device(row: DeviceRow) -> Device:
    return Device(
        id=row.device, kind=DeviceKind(row.kind), host=row.host, index=row.index, name=row.name
    )


def _gpu(row: DeviceRow) -> Place:
    return Place(
        device="cuda",
        environment={"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": row.device},
        told=f"on {row.device} ({row.name})",
    )


def _cpu(told: str = "") -> Place:
    return Place(device="cpu", environment=children.NO_GPU, told=told)


# ---------------------------------------------------------------- measuring


def measure(name: str, checkpoint: Path, ask: Ask, at: Place, *, threads: int) -> Probed:
    """Run the probe in a child; its progress goes to this process's stderr.

    Ctrl-C, or the end of this process however it comes, ends the child. Raises BadProbe, WrongState, ProbeFailed.
    """
    count = ask.threads or min(threads, MOST_THREADS)
    order = {
        "device": at.device,
        "threads": count,
        "options": dict(ask.options),
        "plot": None if ask.plot is None else str(ask.plot.absolute()),
        "replace": ask.replace,
        "tied": True,
        **({} if ask.of is None else {"of": ask.of}),
        **({} if ask.sequences is None else {"sequences": ask.sequences}),
    }
    environment = children.environment(count, at.environment)
    argv = [sys.executable, "-P", "-E", "-m", "trainers.probe", name, str(checkpoint)]
    code, out = children.run([*argv, json.dumps(order)], environment)
    return _answer(name, code, out)


def _answer(name: str, code: int, out: bytes) -> Probed:
    try:
        answer = json.loads(out)
    except ValueError:
        said = children.ending(code)
        raise ProbeFailed(
            f"the probe {name} ended without an answer ({said}); its last words are above"
        ) from None
    if "error" in answer:
        kind = BadProbe if answer["error"] == "usage" else WrongState
        raise kind(answer["message"])
    return Probed(columns=tuple(answer["columns"]), data=tuple(answer["data"]))
