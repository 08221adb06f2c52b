"""Submitting a campaign: into the store, once, or attached to the one of that name that is there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from campaign.errors import WrongState
from campaign.gpus.resolve import resolve
from campaign.preparing import Known, Read
from campaign.records import Campaign
from campaign.sizes import other_profiles, ratio, size_of, steps_of, work_of
from campaign.store import Known as Before
from campaign.store import Store
from campaign.stored_spec import problems
from specs.compare import difference
from specs.run import CampaignSpec, RunSpec
from specs.trainer_command import CommandTrainer
from specs.watch import rule_name

MOST_DIFFERENCES = 40


class OtherContent(WrongState):
    """A campaign of that name is there, with other content."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a profile means. ``steps``: of all its runs together, as far as they are known; ``others``:
    profile -> its size, and its work relative to this one."""

    text: str
    steps: int
    others: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submit that was acknowledged. ``request`` is None where it attached to what was there."""

    campaign: str
    profile: str | None
    runs: tuple[str, ...]
    request: int | None
    warnings: tuple[str, ...]
    size: Size

    @property
    def attached(self) -> bool:
        return self.request is None


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """What a run of a dry run would be. ``devices``: those that it may have, as far as they are known."""

    run: str
    trainer: str
    start: str
    steps: int | None
    gpus: int
    cpus: int
    devices: tuple[str, ...]
    argv: tuple[str, ...]
    cwd: str
    env: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be submitted. Nothing was written or started."""

    campaign: str
    profile: str | None
    runs: tuple[PlannedRun, ...]
    warnings: tuple[str, ...]
    size: Size


def put(store: Store, read: Read, record: Campaign, warnings: tuple[str, ...]) -> Submission:
    """Make the submit durable, or attach. Raises OtherContent with the differences.

    A hash that differs where no setting does is that of a version that knew fewer settings: no other content.
    """
    runs = {name: run.model_dump(mode="json") for name, run in read.spec.runs.items()}
    # as text: the order of the runs is kept, whatever happens to the rest
    payload = {"campaign": record.model_dump(mode="json"), "runs": json.dumps(runs)}
    found = store.submit(record.name, payload, time.time())
    if (
        not isinstance(found, int)
        and found.campaign.spec_hash != record.spec_hash
        and (other := _other_content(found, read.spec))
    ):
        raise OtherContent(other)
    return Submission(
        campaign=record.name,
        profile=read.profile,
        runs=tuple(runs),
        request=found if isinstance(found, int) else None,
        warnings=warnings,
        size=size(read),
    )


def plan(read: Read, record: Campaign, known: Known, warnings: tuple[str, ...]) -> Plan:
    return Plan(
        campaign=read.spec.campaign,
        profile=read.profile,
        runs=tuple(_planned(name, run, record, known) for name, run in read.spec.runs.items()),
        warnings=warnings,
        size=size(read),
    )


def size(read: Read) -> Size:
    """The size of what was read, and of the profiles that were not taken."""
    runs = [run.model_dump(mode="json") for run in read.spec.runs.values()]
    work = work_of(runs)
    others = {}
    known = other_profiles(read.text, read.profile, Path.cwd(), only=read.only)
    for name, other in known.items():
        parts = (size_of(other), ratio(work_of(other), work))
        others[name] = "; ".join(part for part in parts if part)
    steps = sum(steps_of(run["trainer"]) or 0 for run in runs)
    return Size(text=size_of(runs), steps=steps, others=others)


def _other_content(before: Before, new: CampaignSpec) -> str:
    """What differs, for people; empty where nothing does."""
    content = {
        "campaign": before.campaign.name,
        "profile": before.campaign.profile,
        "runs": before.runs,
    }
    other = "submit this one under another name: --as NAME"
    try:
        old = CampaignSpec.model_validate_json(json.dumps(content))
    except ValidationError as error:
        return (
            f"campaign {new.campaign} is there, and this version of campaign cannot read its runs to "
            f"compare them: {problems(error)}\n{other}"
        )
    lines = [f"  {line}" for line in difference(old, new)]
    if not lines:
        return ""
    more = len(lines) - MOST_DIFFERENCES
    if more > 0:
        lines = [*lines[:MOST_DIFFERENCES], f"  and {more} more"]
    return "\n".join(
        [
            f"campaign {new.campaign} is there with other content:",
            *lines,
            other,
        ]
    )


def _planned(name: str, run: RunSpec, record: Campaign, known: Known) -> PlannedRun:
    trainer, warm = run.trainer, run.start.warm_from
    return PlannedRun(
        run=name,
        trainer=trainer.kind,
        start="scratch" if warm is None else f"warm from {warm.run} ({warm.checkpoint})",
        steps=steps_of(trainer.model_dump(mode="json")),
        gpus=run.resources.gpus,
        cpus=run.resources.cpus,
        devices=_candidates(run, known),
        argv=trainer.argv if isinstance(trainer, CommandTrainer) else (),
        cwd=(trainer.cwd if isinstance(trainer, CommandTrainer) else None) or record.cwd,
        env=tuple(
            sorted({*record.env, *(trainer.env if isinstance(trainer, CommandTrainer) else ())})
        ),
        rules=tuple(f"{rule_name(rule)}: {rule.action.value}" for rule in run.watch),
    )


def _candidates(run: RunSpec, known: Known) -> tuple[str, ...]:
    resolved = resolve(run.resources, known.devices, known.exclusions, complete=known.complete)
    kind = "gpu" if run.resources.gpus else "cpu"
    return tuple(
        device.id
        for device in known.devices
        if device.kind == kind
        and device.id not in resolved.exclude
        and (not resolved.pin or device.id in resolved.pin)
        and (not run.resources.hosts or device.host in run.resources.hosts)
    )
