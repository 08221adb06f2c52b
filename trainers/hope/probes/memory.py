"""What memories keep, what is written to them, and whether it helps.

W_t is the state after write t. retention = ||W_t|| / ||W_0||, kept = ||W_0 p_1 ... p_t|| / ||W_0|| (what is left of the
beginning, as the metric memory/retention has it), size of write t = ||W_t - W_(t-1) p_t|| / ||W_0||. Norms are over both
matrices of a memory; with a state a sample, root mean squares over samples. Whether it helps: the error of the teacher
pass on clips that nothing was learnt from, with writes and with the memories as they began, paired clip by clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from trainers.hope.compute.step import autocast
from trainers.hope.losses import Batch
from trainers.hope.memory import MemoryState
from trainers.hope.probes import Say
from trainers.hope.probes.opened import Opened
from trainers.hope.writing import WriteRecord

STANDARD_ERRORS = 2.0
"""A difference counts from so many standard errors on."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """``part``: memory (one of a block, curves by write), frame (errors at one frame), or whole.

    p and gate belong to the writes of a block and are the same for all of its memories.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "part", "block", "memory", "frame", "retained", "kept", "write", "p", "p_sd", "at_0", "at_1", "gated",
        "error", "frozen", "gain", "gain_se",
    )  # fmt: skip

    part: str
    block: int | None = None
    memory: str | None = None
    frame: int | None = None
    retained: float | None = None  # after the last write
    kept: float | None = None
    write: float | None = None  # mean size
    p: float | None = None  # means over writes
    p_sd: float | None = None
    at_0: float | None = None  # share of the preconditioner at its bounds
    at_1: float | None = None
    gated: float | None = None  # share of samples that write
    error: float | None = None  # L1, with writes
    frozen: float | None = None  # without
    gain: float | None = None  # frozen - error: above 0 where writing helps
    gain_se: float | None = None  # standard error over clips
    retention: tuple[float, ...] = ()  # by write, from here on
    kept_by_write: tuple[float, ...] = ()
    writes: tuple[float, ...] = ()
    p_mean: tuple[float, ...] = ()
    p_std: tuple[float, ...] = ()
    p_at_0: tuple[float, ...] = ()
    p_at_1: tuple[float, ...] = ()
    gate: tuple[float, ...] = ()
    clips: int | None = None
    finding: str = ""


@torch.no_grad()
def probe(opened: Opened, options: Options, count: int | None, say: Say) -> tuple[MemoryRow, ...]:
    """A row a memory of each block, a row a frame, and one about all. Raises ValueError without memories."""
    if not set(opened.settings.model.pattern) & set("HU"):
        raise ValueError(f"its blocks ({opened.settings.model.pattern}) have no memories")
    batches = opened.unlearnt(count)
    say("writes of one batch")
    written = curves(opened, batches[0])
    say(f"errors with writes and without, {sum(len(b.features) for b in batches)} clips")
    on, off = (
        torch.cat([errors(opened, batch, writes=writes) for batch in batches])
        for writes in (True, False)
    )
    frames = tuple(compared(on[:, t], off[:, t], t + 1) for t in range(on.shape[1]))
    return (*written, *frames, whole(frames, on, off, written))


# ---------------------------------------------------------------- writes


def curves(opened: Opened, batch: Batch) -> tuple[MemoryRow, ...]:
    """Of the memories of every block over the writes of one batch, one row a memory.

    The state after so many frames is that of a pass over them alone: nothing looks ahead.
    """
    model, context = opened.model, batch.context
    size = opened.settings.model.memories.chunk_frames or context
    ends = [*range(size, context, size), context]
    with autocast(opened.settings, opened.device):
        passes = [model(batch.inputs().first(end), keep_state=True) for end in ends]
        begun = model.begin(len(batch.features))
    rows: list[MemoryRow] = []
    for at, block in enumerate(model.blocks):
        start = begun[at]
        if start is None:
            continue
        after = [passed.states[at] for passed in passes]
        states = [start, *(state for state in after if state is not None)]
        rows += _of_block(at, block, states, passes[-1].records[at])
    return tuple(rows)


def _of_block(
    number: int, block: nn.Module, states: Sequence[MemoryState], records: Sequence[WriteRecord]
) -> list[MemoryRow]:
    gate = _gate(records)
    return [
        _of_memory(number, name, [state.take((at,)) for state in states], records, gate)
        for at, name in enumerate(block.titan.memories)
    ]


def _gate(records: Sequence[WriteRecord]) -> dict[str, tuple[float, ...]]:
    """Of each write of a block."""
    return {
        "p_mean": tuple(float(r.p.mean()) for r in records),
        "p_std": tuple(float(r.p.std(unbiased=False)) for r in records),
        "p_at_0": tuple(float((r.raw <= 0).float().mean()) for r in records),
        "p_at_1": tuple(float((r.raw >= 1).float().mean()) for r in records),
        "gate": tuple(float(r.mask.mean()) for r in records),
    }


def _of_memory(
    number: int,
    name: str,
    states: Sequence[MemoryState],
    records: Sequence[WriteRecord],
    gate: dict[str, tuple[float, ...]],
) -> MemoryRow:
    begun = _norm(states[0])
    retention = tuple(_norm(state) / begun for state in states)
    writes = tuple(
        _norm(_less(new, _faded(old, record.kept))) / begun
        for old, new, record in zip(states[:-1], states[1:], records, strict=True)
    )
    left, kept = states[0], [1.0]
    for record in records:
        left = _faded(left, record.kept)
        kept.append(_norm(left) / begun)
    return MemoryRow(
        part="memory",
        block=number,
        memory=name,
        retained=retention[-1],
        kept=kept[-1],
        write=_mean(writes),
        p=_mean(gate["p_mean"]),
        p_sd=_mean(gate["p_std"]),
        at_0=_mean(gate["p_at_0"]),
        at_1=_mean(gate["p_at_1"]),
        gated=_mean(gate["gate"]),
        retention=retention,
        kept_by_write=tuple(kept),
        writes=writes,
        **gate,
        finding=_said(kept[-1], len(writes)),
    )


def _said(kept: float, writes: int) -> str:
    if kept < 0.5:
        return f"{writes} writes leave {kept:.1%} of what it began with"
    return ""


def _faded(state: MemoryState, kept: Tensor) -> MemoryState:
    """What is left of ``state`` (S, 1, ...) where nothing is added: kept (S, D)."""
    return MemoryState(W1=state.W1 * kept[:, None, None, :], W2=state.W2 * kept[:, None, :, None])


def _less(a: MemoryState, b: MemoryState) -> MemoryState:
    return MemoryState(W1=a.W1 - b.W1, W2=a.W2 - b.W2)


def _norm(state: MemoryState) -> float:
    """Root mean square over states of the norm over both matrices."""
    squares = state.W1.double().square().sum() + state.W2.double().square().sum()
    return float((squares / len(state.W1)).sqrt())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# ---------------------------------------------------------------- whether it helps


def errors(opened: Opened, batch: Batch, *, writes: bool) -> Tensor:
    """L1 of the teacher pass by clip and frame: (B, T)."""
    model = opened.model
    with autocast(opened.settings, opened.device):
        predicted = model(batch.inputs(), writes=writes).features
    return (predicted - model.normalise(batch.features[:, 1:])).double().abs().mean((2, 3))


def compared(on: Tensor, off: Tensor, frame: int | None, part: str = "frame") -> MemoryRow:
    """Errors (clips,) with writes and without, paired."""
    gains = off - on
    se = float(gains.std() / math.sqrt(len(gains))) if len(gains) > 1 else None
    gain = float(gains.mean())
    return MemoryRow(
        part=part,
        frame=frame,
        error=float(on.mean()),
        frozen=float(off.mean()),
        gain=gain,
        gain_se=se,
        clips=len(on),
        finding=_verdict(gain, float(off.mean()), se),
    )


def _verdict(gain: float, frozen: float, se: float | None) -> str:
    """What the difference is, if it is one."""
    if gain == 0 and not se:
        return "writes change nothing: nothing was written before it"
    share = gain / frozen if frozen > 0 else 0.0
    if se is None:
        return f"writes lower the error by {share:.2%}; of one clip nobody knows the spread"
    if abs(gain) <= STANDARD_ERRORS * se:
        return f"no difference beyond {STANDARD_ERRORS:g} standard errors: {share:+.2%} +- {se / frozen:.2%}"
    what = "lower" if gain > 0 else "raise"
    return f"writes {what} the error by {abs(share):.2%} +- {se / frozen:.2%}"


def whole(
    frames: Sequence[MemoryRow], on: Tensor, off: Tensor, written: Sequence[MemoryRow]
) -> MemoryRow:
    """Over all frames, with what the last one says and what the memories keep."""
    row = compared(on.mean(1), off.mean(1), None, part="whole")
    least = min(written, key=lambda r: r.kept if r.kept is not None else math.inf)
    said = (
        f"over all frames: {row.finding}; at the last: {frames[-1].finding}; "
        f"least kept: {least.kept:.1%} ({least.memory} of block {least.block})"
    )
    return MemoryRow(
        part="whole",
        error=row.error,
        frozen=row.frozen,
        gain=row.gain,
        gain_se=row.gain_se,
        kept=least.kept,
        clips=row.clips,
        finding=said,
    )
