"""Does a jump go where it is sent? E[tau, tau'] = error of the prediction for tau against frame tau'.

A predictor that uses its target time has the smallest error of each row and each column on the diagonal. What it must
beat: a copy of frame 0, and the mean of all targets of the clip, which is the best guess that knows the clip but not
tau (an oracle: it has seen the frames).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainers.hope.compute.step import autocast
from trainers.hope.losses import Batch
from trainers.hope.probes import Say
from trainers.hope.probes.opened import Opened

SAME = 1e-6
"""Rows of E that differ by less than this part of it are one prediction: tau is not used."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class JumpRow:
    """The prediction for one ``tau``; the last row, without tau, is about all of them. Errors are L1 means."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "tau", "trained", "error", "best_target", "best_prediction", "copy", "blind", "own_blind",
    )  # fmt: skip

    tau: int | None
    trained: bool | None  # whether the training draws this tau
    error: float  # E[tau, tau]; the mean over tau in the last row
    best_target: int | None  # where the row is smallest
    best_prediction: int | None  # where the column of this target is smallest
    copy: float  # of frame 0 against frame tau
    blind: float  # of the mean of all targets against frame tau
    own_blind: float  # of the mean of the model's predictions over tau, against frame tau
    errors: tuple[float, ...] = ()  # E[tau, 1 .. T]
    clips: int = 0
    finding: str = ""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Means over clips: ``E`` (T, T); ``copy``, ``blind``, ``own`` (T,)."""

    E: Tensor
    copy: Tensor
    blind: Tensor
    own: Tensor
    clips: int


@torch.no_grad()
def probe(opened: Opened, options: Options, count: int | None, say: Say) -> tuple[JumpRow, ...]:
    """One row a tau, and one about all."""
    batches = opened.unlearnt(count)
    say(f"{sum(len(b.features) for b in batches)} clips, {opened.settings.context} targets each")
    return rows_of(seen(opened, batches), opened.settings.losses.jump_last)


def seen(opened: Opened, batches: Iterable[Batch]) -> Seen:
    """Every prediction against every target, every clip counting the same."""
    sums: list[Tensor] = []
    clips = 0
    for batch in batches:
        found = _errors(opened, batch)
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else list(found)
        clips += len(batch.features)
    E, copy, blind, own = (total / clips for total in sums)
    return Seen(E=E, copy=copy, blind=blind, own=own, clips=clips)


def _errors(opened: Opened, batch: Batch) -> tuple[Tensor, ...]:
    """Sums over the clips of a batch, in float64."""
    model, T = opened.model, batch.context
    frames = model.normalise(batch.features).double()
    targets = frames[:, 1:]
    predicted = predictions(opened, batch).double()
    E = torch.stack([_off(predicted[:, tau : tau + 1], targets) for tau in range(T)])
    mean = targets.mean(1, keepdim=True)
    own = predicted.mean(1, keepdim=True)
    return E, _off(frames[:, :1], targets), _off(mean, targets), _off(own, targets)


def _off(guess: Tensor, targets: Tensor) -> Tensor:
    """L1 of (B, 1, P, F) against (B, T, P, F), summed over clips: (T,)."""
    return (guess - targets).abs().mean((2, 3)).sum(0)


def predictions(opened: Opened, batch: Batch) -> Tensor:
    """Of frame tau from frame 0 alone, tau = 1 .. T: (B, T, P, F).

    It begins with the memories that training begins it with (`losses.isolate_state`).
    """
    model, states = opened.model, None
    with autocast(opened.settings, opened.device):
        if not opened.settings.losses.isolate_state:
            states = model(batch.inputs(), keep_state=True).states
        made = [
            model(
                batch.inputs().first(1),
                states,
                target=torch.full((len(batch.features),), tau, device=opened.device),
            ).features
            for tau in range(1, batch.context + 1)
        ]
    return torch.cat(made, dim=1)


def rows_of(found: Seen, jump_last: int) -> tuple[JumpRow, ...]:
    """What E says, row by row and as a whole; taus that training never drew do not count in the whole."""
    T = len(found.E)
    rows = tuple(_row(found, tau, tau >= T - jump_last) for tau in range(T))
    return (*rows, _whole(found, rows))


def _row(found: Seen, at: int, trained: bool) -> JumpRow:
    row, column = found.E[at], found.E[:, at]
    best, by = int(row.argmin()), int(column.argmin())
    off = [f"this prediction is nearer to frame {best + 1}"] if best != at else []
    off += [f"the prediction for {by + 1} is nearer to this frame"] if by != at else []
    return JumpRow(
        tau=at + 1,
        trained=trained,
        error=float(row[at]),
        best_target=best + 1,
        best_prediction=by + 1,
        copy=float(found.copy[at]),
        blind=float(found.blind[at]),
        own_blind=float(found.own[at]),
        errors=tuple(row.tolist()),
        clips=found.clips,
        finding="; ".join(off) or "smallest on its diagonal",
    )


def _whole(found: Seen, rows: tuple[JumpRow, ...]) -> JumpRow:
    counted = [row for row in rows if row.trained]

    def mean(name: str) -> float:
        return sum(getattr(row, name) for row in counted) / len(counted)

    return JumpRow(
        tau=None,
        trained=None,
        error=mean("error"),
        best_target=None,
        best_prediction=None,
        copy=mean("copy"),
        blind=mean("blind"),
        own_blind=mean("own_blind"),
        clips=found.clips,
        finding=_finding(found, rows),
    )


def _finding(found: Seen, rows: tuple[JumpRow, ...]) -> str:
    spread = float((found.E - found.E[:1]).abs().max())
    if len(rows) > 1 and spread <= SAME * float(found.E.mean()):
        return "every tau gets the same prediction: the target time is not used"
    counted = [row for row in rows if row.trained]
    in_row = sum(row.best_target == row.tau for row in counted)
    in_column = sum(row.best_prediction == row.tau for row in counted)
    error, copy, blind = (
        sum(getattr(row, name) for row in counted) for name in ("error", "copy", "blind")
    )
    return (
        f"of {len(counted)} trained tau {in_row} rows and {in_column} columns are smallest on the diagonal; "
        f"the error is {error / max(copy, 1e-30):.2f} x that of copying frame 0 and "
        f"{error / max(blind, 1e-30):.2f} x that of the mean of the targets"
    )
