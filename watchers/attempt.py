"""The watching of one attempt: its files in, its watch.jsonl, progress.json and orders out.

It chooses nothing: judgement.py does. It can be thrown away at any moment and made again: the new
one reads every file from the start, and writes and orders only what is not there yet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from specs.files import AttemptFiles, MetricLine, read_json
from specs.watch import Silence
from watchers.bad_line import line_number
from watchers.certify import Standing
from watchers.evidence import CheckpointReader
from watchers.findings import CLOSED_KEY, Finding, Kind, of_trouble, order_of
from watchers.journal import Fsync, Journal
from watchers.judgement import (
    Judgement,
    Step,
    begin,
    finish,
    standings,
    take_checkpoints,
    take_line,
    take_silence,
)
from watchers.progress import Progress, replace_file
from watchers.settings import read_settings
from watchers.tail import Tail
from watchers.verdict import Decision, Killer, Moment

PROGRESS_EVERY = 1.0
SILENCE_EVERY = 1.0


def not_known(directory: Path) -> bool | None:
    """The answer of a host that cannot tell whether a trainer lives."""
    del directory
    return None


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What the watcher needs from outside.

    ``clock``: unix seconds, for time stamps. ``monotonic``: seconds of a clock that never jumps, for
    everything that waits. ``alive``: is the trainer's process of an attempt known to be alive, known
    to be dead, or not known? Where it is not known, silence is never more than an alert.
    """

    killer: Killer
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    alive: Callable[[Path], bool | None] = not_known
    fsync: Fsync = os.fsync


class Watched:
    """One attempt under watch. Raises OSError and ValueError where its files refuse."""

    def __init__(self, directory: Path, ports: Ports) -> None:
        self.directory = directory
        self._ports = ports
        self._files = AttemptFiles(root=directory)
        self._exit = self._files.exit
        self._journal = Journal(self._files.watch, fsync=ports.fsync)
        self.closed = CLOSED_KEY in self._journal.keys
        self._settings = read_settings(self._files.spec)
        self._has_silence = any(isinstance(rule, Silence) for rule in self._settings.rules)
        self._since = self._silence_due = self._progress_due = ports.monotonic()
        self._heard: float | None = None
        self._alive_since: float | None = None
        self._tail = Tail(self._files.metrics)
        self._bad_line_told = False
        stops = [line for line in self._verdicts() if order_of(line[1]) == "stop"]
        self._start_over(standings(self._journal.lines), stops[0][2] if stops else None)
        if not self.closed:
            self._order_again()

    def _start_over(self, recorded: Mapping[int, Standing], stopped_by: str | None) -> None:
        """Before the first line of metrics.jsonl, knowing what is already written down."""
        self._judgement: Judgement = begin(
            self._settings.rules,
            self._settings.certify,
            recorded=recorded,
            stopped_by=stopped_by,
            impatient=self._settings.undeclared,
        )
        self._reader = CheckpointReader(self._files, monotonic=self._ports.monotonic)
        self._progress, self._changed = Progress(), True

    # ------------------------------------------------------------ one pass

    def poll(self) -> bool:
        """Take what is new and act on it. True if there is more to read at once."""
        if self.closed:
            return False
        exited = self._exit.exists()  # asked first: what the trainer wrote last is then there
        self._look_for_checkpoints(now=exited)
        more = self._read_lines()
        if not more and exited:
            self._advance(finish(self._judgement, succeeded=self._succeeded()))
        elif not more and self._has_silence:
            self._listen()
        self._write_progress(now=exited and not more)
        self._journal.flush()
        self.closed = exited and not more
        return more

    def say(self, what: str, reason: str) -> None:
        """Write an alert about the watching itself, durably, once for each ``what``."""
        self._state(of_trouble(what, reason))
        self._journal.flush()

    def _succeeded(self) -> bool:
        ended = read_json(self._exit) or {}
        return ended.get("exit_code") == 0 and ended.get("order") is None

    def _look_for_checkpoints(self, *, now: bool) -> None:
        if seen := self._reader.new(now=now):
            self._changed = True
            self._advance(take_checkpoints(self._judgement, seen))

    def _read_lines(self) -> bool:
        batch = self._tail.read()
        if batch.restarted:
            known = self._judgement.checkpoints.values()
            self._start_over(
                {judged.step: judged.standing for judged in known}, self._judgement.stopped_by
            )
            self._look_for_checkpoints(now=True)
        for line in batch.lines:
            self._progress.take(line)
            self._advance(take_line(self._judgement, line), line)
        if batch.lines:
            self._heard, self._changed = self._ports.monotonic(), True
        if batch.bad and not self._bad_line_told:
            first = batch.bad[0]
            number = line_number(self._files.metrics, first.offset)
            where = f"{self._files.metrics.name}, line {number}"
            self.say("bad_line", f"{where}: {first.why}; such lines are left out")
            self._bad_line_told = True
        return batch.more

    def _listen(self) -> None:
        """Judge the silence, once a second."""
        now = self._ports.monotonic()
        if now < self._silence_due:
            return
        self._silence_due = now + SILENCE_EVERY
        running = self._ports.alive(self.directory)
        if running and self._alive_since is None:
            self._alive_since = now
        started = self._since if running is None else self._alive_since
        moment = Moment(now=now, started=started, heard=self._heard, running=running)
        self._advance(take_silence(self._judgement, moment))

    # ------------------------------------------------------------ out

    def _advance(self, step: Step, line: MetricLine | None = None) -> None:
        self._judgement, findings = step
        for finding in findings:
            self._state(finding, line)

    def _state(self, finding: Finding, line: MetricLine | None = None) -> None:
        """Write a finding that is not written yet; carry out its order once it is durable."""
        if finding.key in self._journal.keys:
            return
        self._changed = True
        now = self._ports.clock()
        judged = line is not None and finding.kind in (Kind.ALERT, Kind.VERDICT)
        latency = now - line.t if judged and line is not None else None
        self._journal.add(finding.as_line(t=now, latency_s=latency))
        if finding.kind is Kind.VERDICT and finding.action is not None:
            self._journal.flush()
            self._order(finding.key, finding.action, finding.rule, finding.reason, finding.evidence)

    def _order(
        self,
        key: str,
        action: Decision,
        rule: str | None,
        reason: str,
        evidence: Mapping[str, object],
    ) -> None:
        wanted = order_of(action)
        if wanted is not None:
            self._ports.killer(
                self.directory,
                key=key,
                action=wanted,
                reason=reason,
                rule=rule or "",
                grace=None,
                evidence=evidence,
            )

    def _verdicts(self) -> list[tuple[str, Decision, str, str, Mapping[str, object]]]:
        """The verdicts that are written down: key, action, rule, reason, evidence."""
        return [
            (
                str(line["key"]),
                Decision(line["action"]),
                str(line["rule"]),
                str(line["reason"]),
                line["evidence"],
            )
            for line in self._journal.lines
            if line.get("kind") == Kind.VERDICT
        ]

    def _order_again(self) -> None:
        """Give the orders that an earlier watcher wrote down and did not live to give."""
        verdicts = self._verdicts()
        if not verdicts or self._exit.exists():
            return
        self._journal.sync()
        given = {_key_of(path) for _, path in self._files.orders()}
        for verdict in verdicts:
            if verdict[0] not in given:
                self._order(*verdict)

    def _write_progress(self, *, now: bool) -> None:
        at = self._ports.monotonic()
        if not self._changed or (at < self._progress_due and not now):
            return
        self._changed, self._progress_due = False, at + PROGRESS_EVERY
        checkpoints = {
            step: {"standing": judged.standing.value, "reason": self._judgement.explain(step)}
            for step, judged in self._judgement.checkpoints.items()
        }
        data = self._progress.as_json(
            t=self._ports.clock(), points=self._judgement.window.points, checkpoints=checkpoints
        )
        try:
            replace_file(self._files.progress, data)
        except OSError as error:  # judging goes on without the summary
            self.say("progress", f"{self._files.progress.name} cannot be written: {error}")


def _key_of(order: Path) -> str | None:
    """The key of an order file; None for one that is not readable: its order is given again."""
    try:
        content = read_json(order)
    except ValueError:
        return None
    return None if content is None else str(content.get("key"))
