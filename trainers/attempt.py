"""An attempt of one of our trainers: from spec.json to a trainer that stands where it should begin."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from specs.files import AttemptFiles, BadCheckpoint, read_json, write_atomic
from specs.trainer_ep import EpTrainer
from specs.trainer_hope import HopeTrainer
from trainers import checkpoint
from trainers.data import clips
from trainers.data.load import default_cache, load
from trainers.device import choose, name_of, prepare
from trainers.ep import trainer as ep
from trainers.events import EventLog
from trainers.failure import CouldNotStart
from trainers.fit import Outcome, Session, fit
from trainers.hope import trainer as hope
from trainers.hope.continual.protocol import ends, tasks_of
from trainers.hope.continual.report import Report, artifacts
from trainers.hope.titan import CONDITIONING
from trainers.metrics import MetricWriter
from trainers.protocol import Trainer
from trainers.retention import Retention
from trainers.signals import Flags
from trainers.system import Sampler, sources


class Start(BaseModel):
    """Where the attempt begins; ``checkpoint`` is a directory, absent for scratch."""

    model_config = ConfigDict(frozen=True)

    kind: str
    checkpoint: str | None = None
    manifest_sha256: str | None = None


class Assignment(BaseModel):
    """What this process reads of spec.json."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = Field(alias="schema")
    campaign: str
    run: str
    attempt: int
    spec: Mapping[str, Any]
    spec_hash: str
    start: Start
    devices: tuple[str, ...]
    threads: int


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A new trainer, and what its checkpoints say about it. ``report``: files for people, made at the end."""

    trainer: Trainer
    facts: Mapping[str, object]
    tokens_per_step: int
    keep: Retention
    report: Callable[[], Report] = Report


def train(files: AttemptFiles, events: EventLog, flags: Flags) -> int | None:
    """Train the attempt. Returns the signal that ended it early, or None. Raises what went wrong."""
    assignment = read_assignment(files)
    ready = make_ready(assignment, events)
    trainer = ready.trainer
    described = dict(trainer.describe())
    events.state("started", pid=os.getpid(), total_steps=trainer.total_steps, facts=described)
    begin(trainer, assignment.start, ready.facts, events)
    print("\n".join(_header(assignment, trainer, described)))
    metrics = MetricWriter(files.metrics)
    sampler = Sampler(
        lambda: sources(os.getpid(), os.environ, events.note),
        emit=metrics.emit_now,
        note=events.note,
    )
    sampler.start()
    session = Session(
        files=files,
        events=events,
        metrics=metrics,
        flags=flags,
        keep=ready.keep,
        facts=ready.facts,
        tokens_per_step=ready.tokens_per_step,
    )
    try:
        with flags:
            outcome = fit(trainer, session)
        write_report(ready.report(), files, events)
    finally:
        sampler.close()
        metrics.close()
    return flags.stop if outcome is Outcome.STOPPED else None


def read_assignment(files: AttemptFiles) -> Assignment:
    """spec.json. Raises CouldNotStart where it is missing or is not what this version reads."""
    try:
        content = read_json(files.spec)
        if content is None:
            raise CouldNotStart(f"{files.spec} is missing")
        return Assignment.model_validate(content)
    except (OSError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise CouldNotStart(f"{files.spec} cannot be read: {error}") from error


def write_report(report: Report, files: AttemptFiles, events: EventLog) -> None:
    """The files for people. That one is missing makes no training fail: events.jsonl says why."""
    for note in report.notes:
        events.note(note)
    for name, content in report.files.items():
        try:
            files.artifacts.mkdir(mode=0o700, exist_ok=True)
            write_atomic(files.artifacts / name, content)
        except OSError as error:
            events.note(f"{name} could not be written: {error}")


def make_ready(assignment: Assignment, events: EventLog) -> Ready:
    """Set torch, choose the device, read the data and build the trainer."""
    settings = _settings(assignment)
    prepare(assignment.threads)
    device = choose(settings.device, assignment.devices)
    facts = {
        "campaign": assignment.campaign,
        "run": assignment.run,
        "attempt": assignment.attempt,
        "kind": settings.kind,
        "spec_hash": assignment.spec_hash,
        "torch": torch.__version__,
        "device": name_of(device),
        "threads": assignment.threads,
    }
    keep = Retention(
        keep_complete=settings.checkpoints.keep_complete,
        keep_certified=settings.checkpoints.keep_certified,
    )
    if isinstance(settings, HopeTrainer):
        return _ready_hope(settings, device, facts, keep)
    return _ready_ep(settings, device, assignment.threads, facts, keep)


def _ready_ep(
    settings: EpTrainer,
    device: torch.device,
    threads: int,
    facts: Mapping[str, object],
    keep: Retention,
) -> Ready:
    data = load(settings.data, settings.seed, default_cache())
    return Ready(
        trainer=ep.build(settings, data, device=device, threads=threads),
        facts={**facts, "text_sha256": data.text_hash, "tokenizer_sha256": data.tokenizer_hash},
        tokens_per_step=settings.batch * settings.context,
        keep=keep,
    )


def _ready_hope(
    settings: HopeTrainer, device: torch.device, facts: Mapping[str, object], keep: Retention
) -> Ready:
    source = clips.load(
        settings.data,
        settings.seed,
        clips.default_cache(),
        device,
        tasks=tasks_of(settings),
        held_out=settings.continual.held_out if settings.continual else 0,
    )
    trainer = hope.build(settings, source, device=device)
    if settings.continual is not None and settings.checkpoints.keep_phases:
        keep = replace(keep, anchors=frozenset(ends(trainer.phases)))
    frame = CONDITIONING + settings.data.grid[0] * settings.data.grid[1]
    return Ready(
        trainer=trainer,
        facts={**facts, "clips_sha256": source.sha256},
        tokens_per_step=settings.batch * settings.accumulate * settings.context * frame,
        keep=keep,
        report=partial(artifacts, trainer, f"{facts['campaign']}/{facts['run']}"),
    )


def begin(trainer: Trainer, start: Start, facts: Mapping[str, object], events: EventLog) -> None:
    """Bring a new trainer to its start. Raises BadCheckpoint; never begins from nothing instead."""
    if start.kind == "scratch":
        return
    if start.checkpoint is None or start.kind not in ("warm", "resume"):
        raise CouldNotStart(f"spec.json says to start from {start.kind!r} and names no checkpoint")
    loaded = checkpoint.load(Path(start.checkpoint), manifest_sha256=start.manifest_sha256)
    if loaded.manifest.get("kind") != facts["kind"]:
        raise BadCheckpoint(
            f"{start.checkpoint} is of a {loaded.manifest.get('kind')} trainer, this is {facts['kind']}"
        )
    if start.kind == "warm":
        trainer.warm_start(loaded.snapshot)
        events.state("warm_started", checkpoint=start.checkpoint, checkpoint_step=loaded.step)
        return
    trainer.restore(loaded.snapshot)
    if trainer.step != loaded.step:
        raise BadCheckpoint(f"{start.checkpoint} brings the trainer to step {trainer.step}")
    events.state("resumed", checkpoint=start.checkpoint, step=loaded.step)
    for difference in inexact(loaded.manifest, facts):
        events.note(difference)


def inexact(then: Mapping[str, Any], now: Mapping[str, object]) -> Iterable[str]:
    """Why a resumed run may not repeat a straight one bit by bit."""
    for name in ("torch", "device", "threads", "text_sha256", "clips_sha256"):
        if name in then and then[name] != now[name]:
            yield (
                f"resumed with {name} {now[name]}, the checkpoint was written with {then[name]}: "
                "the numbers need not be those of an uninterrupted run"
            )


def _settings(assignment: Assignment) -> EpTrainer | HopeTrainer:
    kind = assignment.spec.get("trainer", {}).get("kind")
    if kind not in _KINDS:
        raise CouldNotStart(f"trainer.kind is {kind!r}; this process trains: {', '.join(_KINDS)}")
    try:
        # strict models take a JSON list for a tuple only from JSON text
        return _KINDS[kind].model_validate_json(json.dumps(assignment.spec["trainer"]))
    except ValidationError as error:
        raise CouldNotStart(
            f"spec.json has other trainer settings than this version: {error}"
        ) from error


_KINDS: Mapping[str, type[EpTrainer] | type[HopeTrainer]] = {"ep": EpTrainer, "hope": HopeTrainer}


def _header(assignment: Assignment, trainer: Trainer, facts: Mapping[str, Any]) -> list[str]:
    """The first lines of log.txt: what is trained, on what, from where."""
    start = assignment.start
    whence = "from scratch" if start.kind == "scratch" else f"{start.kind} from {start.checkpoint}"
    where = ", ".join(assignment.devices) or "no leased device"
    return [
        f"{assignment.campaign}/{assignment.run}, attempt {assignment.attempt}, {whence}, on {where}",
        *_listed(facts, "  "),
        f"  steps: {trainer.step} of {trainer.total_steps} done, evaluated every "
        f"{trainer.evaluate_every}, checkpoint every {trainer.checkpoint_every}",
    ]


def _listed(facts: Mapping[str, Any], indent: str) -> Iterable[str]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _listed(value, indent + "  ")
        else:
            yield f"{indent}{name}: {value}"
