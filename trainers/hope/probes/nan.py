"""Where do numbers stop being numbers? One batch forward and backward, block by block.

The batch, target time and loss are those of the checkpoint's evidence, so that ratio and count are those of the metrics
grad/block_ratio and grad/non_finite there. A layer norm multiplies the gradient of a token by 1 / sqrt(var + eps): of a
token that is exactly zero, 1 / sqrt(eps), at each layer norm that it passes in a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from trainers.hope import gradients, judge
from trainers.hope.compute.step import autocast
from trainers.hope.continual import protocol
from trainers.hope.gradients import Norms
from trainers.hope.losses import Batch, lost
from trainers.hope.probes import Say
from trainers.hope.probes.opened import Opened
from trainers.hope.probes.tracing import (
    KINDS,
    OF_PARAMETER,
    Journal,
    Seen,
    Watched,
    block_of,
    lost_number,
)
from trainers.hope.titan import CONDITIONING

ZERO = 1e-12
"""Variance of a token below which it counts as zeros."""

CONDITIONS = ("action", "state")


@dataclass(frozen=True, kw_only=True)
class Options:
    interval: int | None = None  # detach interval; the settings' where left out

    def __post_init__(self) -> None:
        if self.interval is not None and self.interval < 0:
            raise ValueError(f"interval is {self.interval}, allowed: 0 (never cut) or more")


@dataclass(frozen=True, kw_only=True)
class NanRow:
    """One block; the last row, without a block, is about all. Norms of a gradient are by kind of token that enters."""

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "block", "letter", "gradient", "ratio", "bad", "action", "state", "patch", "worst", "least_var", "ln_gain",
    )  # fmt: skip

    block: int | None
    letter: str | None
    gradient: float  # norm of that of the parameters
    ratio: float | None  # over that of the block above; the largest in the last row
    bad: int  # tensors of parameters whose gradient has no finite norm
    action: float | None = None
    state: float | None = None
    patch: float | None = None
    worst: str | None = None  # the kind of token with the largest gradient
    least_var: float | None = None  # smallest variance of a token that a layer norm saw
    least_kind: str | None = None
    ln_gain: float | None = (
        None  # 1 / sqrt(least_var + eps): what that layer norm multiplies a gradient by
    )
    least_norm: dict[str, float] | None = None  # of a token that enters, by kind
    activation: float | None = None  # norm of the tokens that leave
    first: str | None = None  # what went non-finite first
    finding: str = ""


def probe(opened: Opened, options: Options, count: int | None, say: Say) -> tuple[NanRow, ...]:
    """A row a block, and one about all."""
    batch = _batch(opened, count)
    interval = _with_interval(opened, options)
    say(f"{len(batch.features)} clips forward and backward, detach interval {interval}")
    journal, norms, bad = traced(opened, batch)
    rows = [_row(opened, journal, norms, bad, at) for at in range(len(opened.model.blocks))]
    return (*rows, _whole(journal, norms, rows, interval))


def _batch(opened: Opened, count: int | None) -> Batch:
    """That of the evidence: the first validation clips of the phase that the newest step belongs to."""
    tasks = protocol.tasks_of(opened.settings)
    clips = {task: len(opened.source.train(task)) for task in tasks}
    phases = protocol.plan(opened.settings, clips)
    done = phases[protocol.place(phases, max(0, opened.step - 1)).phase]
    batch = opened.feed.validation(done.tasks)[0]
    few = slice(count)
    return Batch(features=batch.features[few], actions=batch.actions[few], states=batch.states[few])


def _with_interval(opened: Opened, options: Options) -> int:
    """Make every memory cut the meta-gradient at that interval; says which it is."""
    chosen = opened.settings.model.memories.detach_interval
    if options.interval is None:
        return chosen
    for block in opened.model.blocks:
        if hasattr(block, "titan"):
            block.titan.settings = block.titan.settings.model_copy(
                update={"detach_interval": options.interval}
            )
    return options.interval


def traced(opened: Opened, batch: Batch) -> tuple[Journal, Norms, dict[int, int]]:
    """The journal of a pass, the norms of its gradient, and by block how many of its tensors have no finite norm."""
    model, losses = opened.model, opened.settings.losses
    tau = judge.targets(batch, losses)[-1]
    grid = opened.settings.data.grid
    model.zero_grad(set_to_none=True)
    with Watched(model, CONDITIONING + grid[0] * grid[1]) as journal:
        with autocast(opened.settings, opened.device):
            result = lost(model, batch, losses, tau)
        journal.look(result.total, None, "activation", "the loss")
        result.total.backward()
    present = gradients.present(model)
    bad: dict[int, int] = {}
    for name, gradient in present.items():
        block = block_of(name)
        if block is not None and lost_number(gradient):
            bad[block] = bad.get(block, 0) + 1
    norms = gradients.norms(present, len(model.blocks))
    model.zero_grad(set_to_none=True)
    return journal, norms, bad


def _row(opened: Opened, journal: Journal, norms: Norms, bad: dict[int, int], at: int) -> NanRow:
    entering = {kind: math.sqrt(s) for kind, s in journal.entering.get(at, {}).items()}
    least = _least(journal, at)
    last = at + 1 == len(norms.blocks)
    first = next((seen for seen in journal.bad if seen.block == at), None)
    return NanRow(
        block=at,
        letter=opened.settings.model.pattern[at],
        gradient=float(norms.blocks[at]),
        ratio=None if last else float(gradients.block_ratio(norms.blocks[at : at + 2])),
        bad=bad.get(at, 0),
        action=entering.get("action"),
        state=entering.get("state"),
        patch=entering.get("patch"),
        worst=_worst(entering),
        least_var=least[0] if least else None,
        least_kind=least[1] if least else None,
        ln_gain=1 / math.sqrt(least[0] + least[2]) if least and math.isfinite(least[0]) else None,
        least_norm=journal.tokens.get(at),
        activation=journal.activation.get(at),
        first=_told(first) if first else None,
        finding=f"first: {_told(first)}" if first else "",
    )


def _worst(entering: dict[str, float]) -> str | None:
    """The kind with the largest gradient; one that is not finite is larger than any number."""
    if not entering:
        return None
    return max(
        KINDS, key=lambda kind: entering[kind] if math.isfinite(entering[kind]) else math.inf
    )


def _least(journal: Journal, at: int) -> tuple[float, str, float] | None:
    """The smallest variance that a layer norm of the block saw, of which kind of token, and its eps."""
    seen = [
        (variance, kind, normed.eps)
        for normed in journal.normed.get(at, [])
        for kind, variance in normed.variance.items()
    ]
    return min(seen, key=lambda found: found[0] + found[2]) if seen else None


def _told(seen: Seen) -> str:
    where = "" if seen.block is None else f"block {seen.block}: "
    how = " (its entries are finite, their norm is not)" if seen.in_norm_only else ""
    link = " " if seen.what == OF_PARAMETER else " of "
    return f"{where}{seen.what}{link}{seen.name}{how}"


def _whole(journal: Journal, norms: Norms, rows: list[NanRow], interval: int) -> NanRow:
    first = journal.bad[0] if journal.bad else None
    return NanRow(
        block=None,
        letter=None,
        gradient=float(norms.total),
        ratio=float(gradients.block_ratio(norms.blocks)),
        bad=int(norms.bad),
        least_var=min((r.least_var for r in rows if r.least_var is not None), default=None),
        ln_gain=max((r.ln_gain for r in rows if r.ln_gain is not None), default=None),
        first=_told(first) if first else None,
        finding=_finding(first, norms, rows, interval),
    )


def _finding(first: Seen | None, norms: Norms, rows: list[NanRow], interval: int) -> str:
    known = [row for row in rows if row.ratio is not None and math.isfinite(row.ratio)]
    top = max(known, key=lambda row: row.ratio or 0.0, default=None)
    at = (
        f"largest finite ratio {top.ratio:.3g}, block {top.block} over {(top.block or 0) + 1}"
        if top
        else "no block above another with a finite gradient"
    )
    said = f"first: {_told(first)}" if first else "all finite"
    return "; ".join((said, at, *_cause(rows, interval, harmed=_harmed(first, top))))


def _harmed(first: Seen | None, top: NanRow | None) -> bool:
    """Whether there is something that needs a cause: numbers lost, or a block that multiplies by 100 or more."""
    return first is not None or (top is not None and (top.ratio or 0.0) >= 100)


def _cause(rows: list[NanRow], interval: int, *, harmed: bool) -> tuple[str, ...]:
    """Conditioning tokens that are zeros, if there are."""
    zero = [
        kind
        for kind in CONDITIONS
        if any(row.least_norm and row.least_norm.get(kind, 1.0) <= ZERO for row in rows)
    ]
    if not zero:
        return ()
    gain = max((row.ln_gain for row in rows if row.ln_gain is not None), default=0.0)
    which = " and ".join(zero)
    if harmed:
        return (
            f"{which} tokens are exactly zero: each layer norm multiplies their gradient by {gain:.0f}, several in a "
            "row in a block; model.conditioning_bias_std above 0 is the cure",
        )
    cut = " (detach interval 1 cuts what would go back through them)" if interval == 1 else ""
    return (f"{which} tokens are exactly zero, where a layer norm multiplies by {gain:.0f}{cut}",)
