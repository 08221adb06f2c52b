"""campaign show: everything about one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from campaign.cli.alerts import put_alerts
from campaign.cli.board import put_board
from campaign.cli.checkpoints import put_checkpoints
from campaign.cli.grid import Cell, Column, Row
from campaign.cli.hints import after
from campaign.cli.options import HomeOption, JsonOption, RunArgument, client
from campaign.cli.output import put, put_grid, put_json, talk_next
from campaign.cli.paint import tone_of
from campaign.cli.words import count, duration, moment, short_device
from campaign.details import CodeRow, RunDetails
from campaign.following import shown
from campaign.latency import KillLatency
from campaign.rows import AttemptRow

_ATTEMPTS = (
    Column(title="TRY", right=True),
    Column(title="STATUS"),
    Column(title="FROM"),
    Column(title="DEVICE"),
    Column(title="HOST"),
    Column(title="PID", right=True),
    Column(title="BEGAN"),
    Column(title="ENDED"),
)


def show(
    run: RunArgument,
    spec: Annotated[bool, typer.Option("--spec", help="Its settings too.")] = False,
    events: Annotated[
        int, typer.Option(metavar="N", help="How many lines of the event log.", min=0)
    ] = 10,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """A run: attempts, verdicts, checkpoints, alerts, events."""
    del home
    here = client()
    found = here.show(run)
    if as_json:
        put_json([found])
        return
    _put(found, events)
    if spec:
        put()
        put(json.dumps(found.spec, indent=2))
    talk_next(*after(here, found.run), f"campaign ui {found.run.campaign}")


def _put(found: RunDetails, events: int) -> None:
    put_board([found.run])
    for path, value in found.run.changes.items():
        put(f"  changed by a rollback: {path} = {value}")
    for written, device in found.references.items():
        put(f"  device {written} = {device}")
    put(f"  code: {_code(found.code)}")
    _put_metrics(found)
    if found.attempts:
        put()
        put_grid(_ATTEMPTS, [_attempt(a) for a in found.attempts], note="HOW IT ENDED")
    for number, latency in found.latencies.items():
        put(f"  attempt {number}: {_latency(latency)}")
    if found.checkpoints:
        put()
        put_checkpoints(found.checkpoints)
    put_alerts(found.alerts)
    if events and found.events:
        put()
        for event in found.events[-events:]:
            put(f"{moment(event.at)}  {event.note}")


def _code(code: CodeRow) -> str:
    """Which commit, what was changed, where the difference lies."""
    parts = [f"commit {code.commit[:12]}" if code.commit else "no commit"]
    if code.dirty:
        parts.append("changed since")
    if code.untracked:
        content = f", {len(code.left_out)} without content" if code.left_out else ""
        parts.append(f"{count(code.untracked, 'untracked file')}{content}")
    if code.diff is not None:
        parts.append(f"difference in {code.diff}")
    elif code.diff_bytes is not None:
        parts.append(f"the difference ({code.diff_bytes} bytes) is not kept")
    if code.unknown:
        parts.append(f"not known: {code.unknown}")
    return "; ".join(parts)


def _metric_columns(phase: str | None) -> tuple[Column, ...]:
    return (
        Column(title="METRIC"),
        Column(title="LATEST", right=True),
        Column(title="AT STEP", right=True),
        Column(title="BEST" if phase is None else "BEST IN PHASE", right=True),
        Column(title="AT STEP", right=True),
    )


def _put_metrics(found: RunDetails) -> None:
    rows = [
        Row(
            cells=(
                Cell(text=name),
                Cell(text=shown(cell["latest"])),
                Cell(text=str(cell["latest_step"])),
                Cell(text=shown(cell["best"])),
                Cell(text="" if cell["best_step"] is None else str(cell["best_step"])),
            )
        )
        for name, cell in sorted(found.run.metrics.items())
    ]
    if rows:
        put()
        put_grid(_metric_columns(found.run.phase), rows)


def _attempt(attempt: AttemptRow) -> Row:
    word = attempt.result or attempt.status
    identity = attempt.identity or {}
    return Row(
        cells=(
            Cell(text=str(attempt.number)),
            Cell(text=word, tone=tone_of(word)),
            Cell(text=_origin(attempt.start)),
            Cell(text=short_device(", ".join(attempt.devices))),
            Cell(text=attempt.host),
            Cell(text=str(identity.get("pid", ""))),
            Cell(text=moment(attempt.created_at)),
            Cell(text=moment(attempt.ended_at)),
        ),
        note=attempt.reason,
    )


def _origin(start: Mapping[str, object]) -> str:
    match start["kind"]:
        case "scratch":
            return "scratch"
        case "warm":
            return f"{start['run']}@{start['step']}"
    return f"try {start['attempt']}@{start['step']}"


def _latency(latency: KillLatency) -> str:
    parts = [f"verdict {duration_ms(latency.verdict)} after the line was written"]
    if latency.signal is not None:
        parts.append(f"signal after {duration_ms(latency.signal)}")
    if latency.gone is not None:
        parts.append(f"nothing left after {duration_ms(latency.gone)}")
    return ", ".join(parts)


def duration_ms(seconds: float) -> str:
    """``12 ms``, ``3.4 s``; from ten seconds on as any other duration."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
