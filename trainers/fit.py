"""The only training loop. It owns cadence, files and signals; the trainer owns the mathematics.

At a step edge, always in this order:

    advance -> log -> evaluate -> checkpoint (with what was just measured as evidence) -> leave

so a checkpoint never lies about the step it was taken at, and a signal is obeyed only between steps,
when the state is whole. The checkpoint of a process that is told to leave is written in haste, without
measuring anything more: the grace that it has may be short. A step that has no finite result ends the run: what it measured is written
down, no checkpoint is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from specs.files import AttemptFiles
from trainers.checkpoint import missing_room, save, size_of
from trainers.clock import SYSTEM_CLOCK, Clock
from trainers.events import EventLog
from trainers.failure import classify
from trainers.metrics import MetricWriter
from trainers.pace import Pace
from trainers.protocol import Evidence, NonFinite, Snapshot, Trainer
from trainers.retention import Retention, retire
from trainers.signals import Flags


class Outcome(StrEnum):
    FINISHED = "finished"
    STOPPED = "stopped"  # by a signal, after a checkpoint


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a training writes to and listens to.

    ``facts`` go into every manifest; ``say`` takes one line for people; ``tokens_per_step`` makes
    ``time/tokens_per_s`` known.
    """

    files: AttemptFiles
    events: EventLog
    metrics: MetricWriter
    flags: Flags
    keep: Retention
    facts: Mapping[str, object]
    say: Callable[[str], None] = print
    clock: Clock = SYSTEM_CLOCK
    tokens_per_step: int | None = None


def fit(trainer: Trainer, session: Session) -> Outcome:
    """Train from where ``trainer`` stands to its last step, or until a signal asks to stop.

    Raises what the trainer raises (NonFinite among it) and OSError where the last checkpoint cannot be
    written. The metrics are on the disk when it returns or raises; the writer stays open.
    """
    loop = _Loop(trainer=trainer, session=session, saved=trainer.step, pace=Pace(session.clock))
    session.metrics.reach(trainer.step, trainer.phase)
    try:
        outcome = loop.run()
    finally:
        session.metrics.flush()
    session.events.state(outcome.value, step=trainer.step, **loop.signal())
    session.say(" ".join([outcome.value, f"at step {trainer.step}", *loop.signal().values()]))
    return outcome


@dataclass(kw_only=True)
class _Loop:
    """``saved``: step of the newest checkpoint, or of the start; ``measured``: at this step edge."""

    trainer: Trainer
    session: Session
    saved: int
    pace: Pace
    measured: dict[str, float] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()

    def run(self) -> Outcome:
        trainer = self.trainer
        while trainer.step < trainer.total_steps:
            if self.session.flags.stop is not None:
                self.checkpoint(must=True, hasty=True)
                return Outcome.STOPPED
            metrics = self.advance()
            last = trainer.step == trainer.total_steps
            if last or trainer.step % trainer.log_every == 0:
                self.log(metrics)
            if last or trainer.step % trainer.evaluate_every == 0:
                self.evaluate()
            if last or self.asked() or trainer.step % trainer.checkpoint_every == 0:
                self.checkpoint(must=last)
        return Outcome.FINISHED

    def asked(self) -> bool:
        """Was a checkpoint asked for? Only a flag that is set is cleared: none is lost between."""
        if not self.session.flags.checkpoint:
            return False
        self.session.flags.checkpoint = False
        return True

    def advance(self) -> Mapping[str, float]:
        self.measured = {}
        try:
            with self.pace.step():
                metrics = self.trainer.advance()
        except NonFinite as error:
            # before the metric: a rule that sees it has this process killed within milliseconds
            failure = classify(error)
            self.session.events.failed(failure.failure_class, failure.message)
            self.session.metrics.emit(self.trainer.step + 1, error.metrics)
            raise
        self.session.metrics.reach(self.trainer.step, self.trainer.phase)
        self.trained = frozenset(metrics)
        return metrics

    def log(self, metrics: Mapping[str, float]) -> None:
        timing = self.pace.since_last(self.session.tokens_per_step)
        self.session.metrics.emit(self.trainer.step, {**metrics, **timing})

    def evaluate(self) -> None:
        self.measured = dict(self.trainer.evaluate())
        self.session.metrics.emit(self.trainer.step, self.measured)
        self.session.say(self.pace.line(self.trainer.step, self.trainer.total_steps, self.measured))

    def checkpoint(self, *, must: bool, hasty: bool = False) -> None:
        """Write one, unless this step has one. Only ``must`` makes a failure fatal: the next may do.

        ``hasty``: the process is told to leave and has little time, so nothing is measured for it; the
        checkpoint can be resumed from, and will hardly be certified.
        """
        step, session = self.trainer.step, self.session
        if self.saved == step:
            return
        snapshot = self.trainer.snapshot()
        evidence = _finiteness(snapshot) if hasty else self.trainer.evidence()
        if not evidence.finite:
            if step == self.trainer.total_steps:
                raise NonFinite(f"the state after the last step, {step}, is not finite")
            session.events.note(f"no checkpoint of step {step}: its state is not finite")
            return
        session.metrics.emit(step, self.not_said_yet(evidence.metrics))
        evidence = Evidence(finite=True, metrics={**evidence.metrics, **self.measured})
        try:
            self.write(snapshot, evidence, must=must)
        except OSError as error:
            if must:
                raise
            session.events.note(f"no checkpoint of step {step}: {error}")

    def not_said_yet(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """What only the evidence measures, such as the spectrum: worth a curve of its own."""
        return {
            k: v for k, v in metrics.items() if k not in self.measured and k not in self.trained
        }

    def write(self, snapshot: Snapshot, evidence: Evidence, *, must: bool) -> None:
        step, session = self.trainer.step, self.session
        session.files.checkpoints.mkdir(mode=0o700, exist_ok=True)
        lacking = missing_room(session.files.checkpoints, size_of(snapshot))
        if lacking is not None and not must:
            session.events.note(f"no checkpoint of step {step}: {lacking}")
            return
        session.metrics.flush()  # a certificate must not know less than the checkpoint it is for
        begun = session.clock.monotonic()
        saved = save(
            session.files.checkpoints,
            step=step,
            snapshot=snapshot,
            evidence=evidence,
            facts=session.facts,
        )
        self.saved = step
        seconds = round(session.clock.monotonic() - begun, 3)
        session.events.state("checkpoint", step=step, bytes=saved.size, seconds=seconds)
        self.clean()

    def clean(self) -> None:
        """Retention. That something stays which could go stops no training."""
        try:
            retire(self.session.files, self.session.keep)
        except (OSError, ValueError) as error:
            self.session.events.note(f"old checkpoints stay: {error}")

    def signal(self) -> dict[str, str]:
        stop = self.session.flags.stop
        return {} if stop is None else {"signal": stop.name}


def _finiteness(snapshot: Snapshot) -> Evidence:
    finite = all(
        bool(tensor.isfinite().all())
        for tensors in snapshot.tensors.values()
        for tensor in tensors.values()
    )
    return Evidence(finite=finite, metrics={})
