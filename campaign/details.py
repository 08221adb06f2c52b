"""Everything that is known of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.errors import LogNotYet, NotFound
from campaign.home import Home
from campaign.latency import KillLatency, kill_latency
from campaign.naming import RunName
from campaign.rows import NOT_TAKEN, AlertRow, AttemptRow, CheckpointRow, EventRow, RunRow
from campaign.views import Reader
from specs.files import AttemptFiles


@dataclass(frozen=True, kw_only=True)
class CodeRow:
    """The code that was submitted. ``diff``: the file that makes of the commit what was submitted;
    None where nothing differed, or it is not kept. ``unknown``: why not all of this is known.
    """

    commit: str | None
    dirty: bool
    root: str | None
    diff: str | None
    diff_bytes: int | None
    untracked: int
    left_out: Mapping[str, str]
    unknown: str


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """``spec``: as submitted; ``run.changes`` came after it. ``references``: device as written in it
    -> the full id that it was found to mean, kept from then on. ``latencies``: attempt -> how long its
    kill by a rule took."""

    run: RunRow
    code: CodeRow
    spec: Mapping[str, Any]
    references: Mapping[str, str]
    attempts: tuple[AttemptRow, ...]
    latencies: Mapping[int, KillLatency]
    checkpoints: tuple[CheckpointRow, ...]
    alerts: tuple[AlertRow, ...]
    events: tuple[EventRow, ...]


def details_of(reader: Reader, name: RunName) -> RunDetails:
    campaign, run = name
    attempts = reader.attempts(campaign, run)
    timed = {a.number: kill_latency(Path(a.directory)) for a in attempts}
    record = reader.run_data(name)
    return RunDetails(
        run=next(row for row in reader.runs(campaign) if row.run == run),
        code=code_of(reader.campaign_data(campaign), attempts),
        spec=record["spec"],
        references=record.get("references", {}),
        attempts=tuple(attempts),
        latencies={n: latency for n, latency in timed.items() if latency is not None},
        checkpoints=tuple(reader.checkpoints(campaign, run)),
        alerts=tuple(reader.alerts(campaign, run)),
        events=tuple(reader.events(f"{campaign}/{run}")),
    )


def code_of(record: Mapping[str, Any] | None, attempts: Sequence[AttemptRow]) -> CodeRow:
    """``record``: of the campaign, None before a controller has taken it; its runs' attempts."""
    campaign = record or {}
    code = campaign.get("code") or {}
    patch = code.get("patch") or {}
    diff = None
    if patch.get("kept"):
        in_attempts = [AttemptFiles(root=Path(a.directory)).code_patch for a in attempts[-1:]]
        in_home = Home(root=Path(campaign["root"])).code_patch(patch["sha256"])
        diff = next((str(path) for path in (*in_attempts, in_home) if path.exists()), None)
    missing = NOT_TAKEN if record is None else "this campaign recorded no difference"
    return CodeRow(
        commit=campaign.get("git_commit"),
        dirty=bool(campaign.get("git_dirty")),
        root=code.get("root"),
        diff=diff,
        diff_bytes=patch.get("bytes"),
        untracked=len(code.get("untracked", ())) + code.get("more_untracked", 0),
        left_out=code.get("left_out", {}),
        unknown=code["unknown"] if code else missing,
    )


def log_of(reader: Reader, name: RunName, attempt: int | None) -> Path:
    """The log of an attempt, by default the newest. Raises NotFound; LogNotYet where it may still come."""
    found = {a.number: a for a in reader.attempts(*name)}
    run = "/".join(name)
    if not found:
        raise LogNotYet(f"{run} has no attempt yet, so there is no log")
    number = max(found) if attempt is None else attempt
    if number not in found:
        raise LogNotYet(f"{run} has attempts 1 to {max(found)}, not {number}")
    log = AttemptFiles(root=Path(found[number].directory)).log
    if not log.exists():
        if found[number].status == "starting":
            raise LogNotYet(f"attempt {number} of {run} only starts")
        raise NotFound(f"{log} is not on this machine; the attempt ran on {found[number].host}")
    return log
