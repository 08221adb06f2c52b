"""What a shim does: take the devices, start the trainer, obey orders, sweep, record how it ended.

Standard library only. It writes pid.json, kill.json and exit.json, asks nobody, and needs neither
controller nor network. Its own complaints go to log.txt.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from campaign.hosts import identity, inherited, locks, records, release
from campaign.hosts.bell import Bell
from campaign.hosts.child import Child, NotSpawned, spawn
from campaign.hosts.failpoints import reached
from campaign.hosts.family import Family
from campaign.hosts.kill_log import KillLog
from campaign.hosts.ladder import Ending, Ladder, Outcome, Rung
from campaign.hosts.locks import Held
from campaign.hosts.obedience import BY_SHIM, Orders
from campaign.hosts.records import ExitRecord, LaunchRecord, PidRecord
from specs.files import AttemptFiles, write_json

POLL = 0.25
"""Seconds between two looks at the orders when nobody rings."""

_OWN_FAILURES = {"timeout": "timeout", "terminated": "preempted"}
"""Failure class of the orders that a shim gives itself."""


class CouldNotStart(Exception):
    """No trainer was started; the message is the reason for exit.json."""


def tend(directory: Path, *, ready: int) -> None:
    """Run one attempt from start to exit record. ``ready`` is a pipe: one byte once it is on record.

    There is no second life: an attempt with a pid.json, an exit.json or an unstarted.json is left alone.
    """
    files = AttemptFiles(root=directory)
    reached("before_attempt_lock", directory)
    try:
        with locks.holding(files.kill_lock):
            if files.pid.exists() or files.exit.exists() or files.unstarted.exists():
                os.write(ready, b"1")
                return
            launch = records.read_launch(files)
            if launch is None:
                raise FileNotFoundError(f"{files.launch} is not there")
            Shim(files, launch).run(ready)
    except Held:  # another shim of this very attempt has it, or somebody acts in its place
        os.write(ready, b"1")


class Shim:
    """One attempt. All is done by its one thread."""

    def __init__(self, files: AttemptFiles, launch: LaunchRecord) -> None:
        self._files = files
        self._launch = launch
        self._terminated = False
        self._child: Child | None = None
        self._bell: Bell | None = None
        self._pid = PidRecord(
            attempt=launch.attempt,
            cookie=launch.cookie,
            shim=identity.of_child(os.getpid(), launch.cookie),
        )
        self._pid_written = False
        self._log = KillLog(files, attempt=launch.attempt, cookie=launch.cookie)
        self._orders = Orders(
            files, launch, self._log, pid=lambda: self._pid, checkpoint=self._ask_for_checkpoint
        )

    def run(self, ready: int) -> None:
        """The whole life of the attempt. OSError before the first record: there is no attempt."""
        inherited.reset_signals(self._on_terminate)
        not_reset = inherited.reset_priority()
        reached("before_pid", self._files.root)
        self._pid = replace(self._pid, not_reset=not_reset)
        write_json(self._files.pid, self._pid.to_json())
        reached("after_pid", self._files.root)
        os.write(ready, b"1")
        os.close(ready)
        self._bell = Bell(Path(self._launch.socket))
        try:
            exit_record = self._attempt()
            self._log.flush()
            reached("before_exit", self._files.root)
            records.write_exit(self._files, exit_record)
            reached("after_exit", self._files.root)
        finally:
            self._bell.close()

    def _attempt(self) -> ExitRecord:
        try:
            descriptors = self._take_devices()
            self._orders.take()
            if (stop := self._orders.stop) is not None:
                detail = "it was stopped before its trainer was started"
                return self._exit(order=stop.in_brief(), detail=detail)
            child = self._start(descriptors)
        except CouldNotStart as error:
            failure = records.COULD_NOT_START
            return self._exit(outcome=failure, failure_class=failure, detail=str(error))
        self._tend(child)
        ended_at = time.time()
        ending = self._end(child)
        reached("after_ladder", self._files.root)
        return self._exit_of(child, ending, ended_at)

    # ------------------------------------------------------------ starting

    def _take_devices(self) -> list[int]:
        reached("before_lock", self._files.root)
        try:
            inherited.become_subreaper()
            locks.keep_directory(Path(self._launch.socket).parent)
            holder = f"{self._files.root}, shim {os.getpid()}"
            descriptors = locks.take_devices(self._launch.locks, holder=holder)
            reached("after_lock", self._files.root)
            self._pid = replace(self._pid, locked=True, baseline=self._check_devices())
            write_json(self._files.pid, self._pid.to_json())
        except (Held, OSError) as error:
            raise CouldNotStart(str(error)) from error
        return descriptors

    def _check_devices(self) -> Mapping[str, int]:
        """Memory in use before the start. Raises CouldNotStart where a GPU is not known to be free."""
        if not self._launch.gpus or not self._launch.probe_argv:
            return {}
        report = self._probe()
        if problem := release.refusal(report, self._launch.gpus):
            raise CouldNotStart(problem)
        return release.used_bytes(report, self._launch.gpus)

    def _probe(self) -> release.Report:
        return release.run_probe(self._launch.probe_argv, self._launch.env)

    def _start(self, descriptors: list[int]) -> Child:
        reached("before_spawn", self._files.root)
        try:
            self._child = spawn(self._launch, self._files, descriptors)
        except NotSpawned as error:
            raise CouldNotStart(str(error)) from error
        reached("after_spawn", self._files.root)
        self._pid = replace(self._pid, trainer=self._child.identity, started_at=time.time())
        self._record_trainer()
        reached("after_trainer_pid", self._files.root)
        return self._child

    def _record_trainer(self) -> None:
        """Tried again while the trainer runs: a full disk is no reason to end it."""
        try:
            write_json(self._files.pid, self._pid.to_json())
            self._pid_written = True
        except OSError as error:
            print(f"campaign: pid.json not written: {error}", file=sys.stderr, flush=True)

    # ------------------------------------------------------------ while it runs

    def _tend(self, child: Child) -> None:
        """Return when the trainer has ended or an order says that it shall."""
        timeout = self._launch.timeout
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        while not child.exited() and self._orders.stop is None:
            if time.monotonic() >= deadline:
                self._orders.give_myself("timeout", f"it ran for {timeout:g} s, its limit")
            if self._terminated:
                self._orders.give_myself("terminated", "its shim was told to end by SIGTERM")
            if not self._pid_written:
                self._record_trainer()
            child.reap_orphans()
            self._orders.take()
            if self._orders.stop is None:
                self._log.flush()
                self.wait(min(POLL, max(0.0, deadline - time.monotonic())))

    def _end(self, child: Child) -> Ending:
        """By the ladder if it was ordered, and nobody is left behind in any case."""
        family, stop = Family(child), self._orders.stop
        if stop is None or child.exited():
            return Ladder(processes=family, clock=self, record=lambda _: None).sweep()
        self._log.begin(stop, by=BY_SHIM)
        reached("before_term", self._files.root)
        ladder = Ladder(
            processes=family, clock=self, record=self._climbed, grace=self._orders.grace
        )
        ending = ladder.climb()
        self._log.finish(ending, at=time.time())
        return ending

    def _climbed(self, rung: Rung) -> None:
        self._log.rung(rung)
        if rung.name == "term":
            reached("after_term", self._files.root)

    def _ask_for_checkpoint(self) -> str:
        """SIGUSR1, but only to a trainer that has a handler: by default it would die of it."""
        if self._child is None:
            return "too early: the trainer is not started yet"
        if not identity.handles(self._child.identity.pid, signal.SIGUSR1):
            return "not sent: the trainer does not handle SIGUSR1"
        return self._child.signal(signal.SIGUSR1).value

    def _on_terminate(self) -> None:
        """The machine goes down, or somebody wants it to end: the trainer may save first."""
        self._terminated = True

    # ------------------------------------------------------------ the end

    def _exit_of(self, child: Child, ending: Ending, ended_at: float) -> ExitRecord:
        """``order`` is named only if its SIGTERM found the trainer alive."""
        stuck = ending.outcome is Outcome.STUCK and not child.exited()
        departed = {} if stuck else vars(child.reap())
        stop = self._orders.stop if self._log.terminated_at is not None else None
        own = stop is not None and stop.by == BY_SHIM
        return self._exit(
            order=None if stop is None else stop.in_brief(),
            failure_class=_OWN_FAILURES.get(stop.key) if stop is not None and own else None,
            detail="; ".join(ending.left),
            ended_at=ended_at if stop is None else time.time(),
            swept=tuple(pid for pid in ending.swept if pid != child.identity.pid),
            gpu_release=release.after(
                self._launch,
                ending,
                leader=child.identity,
                baseline=self._pid.baseline,
                probe=self._probe,
                clock=self,
            ),
            **departed,
        )

    def _exit(self, *, outcome: str = records.EXITED, **fields: Any) -> ExitRecord:
        return ExitRecord(
            attempt=self._launch.attempt,
            cookie=self._launch.cookie,
            outcome=outcome,
            written_by=BY_SHIM,
            started_at=self._pid.started_at,
            **{"ended_at": time.time(), **fields},
        )

    # ------------------------------------------------------------ ladder.Clock

    def monotonic(self) -> float:
        return time.monotonic()

    def unix(self) -> float:
        return time.time()

    def wait(self, seconds: float) -> None:
        """Until the trainer ends, somebody rings, or the time is over."""
        poll = select.poll()
        if self._child is not None and not self._child.exited():
            poll.register(self._child.pidfd, select.POLLIN)
        ringing = None if self._bell is None else self._bell.fileno()
        if ringing is not None:
            poll.register(ringing, select.POLLIN)
        poll.poll(math.ceil(max(0.0, seconds) * 1000))
        if self._bell is not None:
            self._bell.answer()
