"""This machine as a host: attempts are started, ordered and observed in this process, without Ray."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from campaign import code
from campaign.errors import CampaignError, WrongState
from campaign.gpus.inventory import cpu_slots as slots
from campaign.gpus.probe import GpuProbe
from campaign.home import Home
from campaign.hosts import identity, locks, orders, reaper, records, runtime
from campaign.hosts.locks import Held
from campaign.hosts.observe import Observer
from campaign.hosts.port import Cursor, HostFacts, Launch, Observation, Order
from campaign.hosts.records import LaunchRecord
from campaign.hosts.shims import Came, Shims
from specs.endings import NEVER_CAME_UP
from specs.files import SCHEMA, AttemptFiles, fsync_dir, write_json

START_DEADLINE = 30.0
REAP_PATIENCE = 300.0
DYING = 2.0
"""Seconds in which a process that is as good as dead lets go of its locks."""
"""Seconds to wait for somebody else's ladder over the same attempt."""

_LOG_TAIL = 2000


class StartRefused(WrongState):
    """This attempt directory belongs to another launch, or it was given up."""


class StartFailed(CampaignError):
    """The shim died before the attempt was on record: no trainer of it exists."""


class ReapUnfinished(CampaignError):
    """What a dead shim left is not ended yet."""


class LocalHost:
    """port.Host. Its methods may be called from several threads.

    ``probe_argv``: a program that prints a DeviceReport as its last line; the shim asks it before the
    start and after the end. Without one a GPU is trusted to be free.
    """

    def __init__(
        self,
        home: Path,
        *,
        probe: GpuProbe,
        cpu_slots: int,
        name: str,
        python: str = sys.executable,
        probe_argv: Sequence[str] = (),
    ) -> None:
        self._home = home
        self._probe = probe
        self._slots = slots(name, cpu_slots)
        self._name = name
        self._shims = Shims(python)
        self._probe_argv = tuple(probe_argv)
        self._runtime = runtime.directory()
        self._observer = Observer()

    def describe(self) -> HostFacts:
        report = self._probe.report()
        devices = report.model_copy(update={"devices": (*report.devices, *self._slots)})
        return HostFacts(
            host=self._name,
            boot_id=identity.boot_id(),
            address=socket.gethostname(),
            devices=devices,
            problems=self._observer.problems,
        )

    # ------------------------------------------------------------ starting

    def start(self, launch: Launch) -> None:
        """Start it once; returns when its shim has written pid.json.

        Raises StartRefused or StartFailed: in both cases no trainer of this launch exists.
        """
        files = AttemptFiles(root=Path(launch.directory))
        files.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if files.unstarted.exists():
            raise StartRefused(f"{files.root} was given up before it started; take a new attempt")
        self._commit(files, launch)
        if not (files.pid.exists() or files.exit.exists()):
            self._launch_shim(files, launch.cookie)

    def _commit(self, files: AttemptFiles, launch: Launch) -> None:
        """Write spec.json, env.json, code/ and, as the last and only once, launch.json."""
        record = self._record(launch)
        known = records.read_launch(files)
        if known is None:
            write_json(files.spec, dict(launch.spec))
            write_json(files.env, dict(launch.env))
            if launch.code is not None:
                code.give(files, Home(root=self._home), launch.code, launch.spec)
            known = record if _create(files, record) else records.read_launch(files)
        if known is None or known.cookie != launch.cookie:
            raise StartRefused(f"{files.root} belongs to another launch of {launch.run}")

    def _record(self, launch: Launch) -> LaunchRecord:
        start = launch.spec.get("start") or {}
        return LaunchRecord(
            campaign=launch.campaign,
            run=launch.run,
            attempt=launch.attempt,
            host=self._name,
            cookie=launch.cookie,
            argv=launch.argv,
            cwd=launch.cwd,
            env=dict(launch.env),
            devices=launch.devices,
            locks={
                device: str(runtime.lock_path(self._runtime, device, home=self._home))
                for device in launch.devices
            },
            socket=str(runtime.socket_path(self._runtime, launch.cookie)),
            grace=launch.grace,
            timeout=launch.timeout,
            resume_from=start.get("checkpoint"),
            probe_argv=self._probe_argv,
        )

    def _launch_shim(self, files: AttemptFiles, cookie: str) -> None:
        with open(files.log, "ab", opener=_private) as log:
            came = self._shims.start(files.root, cookie, log.fileno(), deadline=START_DEADLINE)
        if (
            came is not Came.DOWN or files.pid.exists()
        ):  # late: a slow disk; or it is proved unstarted
            return
        why = f"the shim of {files.root} died at once: {_tail(files.log)}"
        if self._give_up(files, why, patience=DYING):
            raise StartFailed(why)

    def prove_unstarted(self, directory: str) -> bool:
        """True once it is certain that no shim of this launch runs or will ever run.

        Whoever holds the lock of the attempt may act on it. Under it, unstarted.json is written, which
        a shim that comes late finds: there is no moment in which it could still go on.
        """
        return self._give_up(AttemptFiles(root=Path(directory)), NEVER_CAME_UP)

    def _give_up(self, files: AttemptFiles, why: str, *, patience: float = 0.0) -> bool:
        """``why`` stands in unstarted.json, so that whoever reads the files says what the store says.

        ``patience``: seconds that a holder of the attempt's lock is given to let go.
        """
        files.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with locks.holding(files.kill_lock, patience=patience):
                if files.pid.exists() or files.exit.exists():
                    return False
                if not files.unstarted.exists():
                    record = {"schema": SCHEMA, "at": time.time(), "reason": why}
                    write_json(files.unstarted, record)
                return True
        except Held:
            return False

    # ------------------------------------------------------------ the rest

    def order(self, directory: str, order: Order) -> None:
        orders.give(AttemptFiles(root=Path(directory)), order)

    def observe(self, cursors: Mapping[str, Cursor]) -> Sequence[Observation]:
        self._observer.forget_others(frozenset(Path(directory) for directory in cursors))
        return [self._observer.look(directory, cursor) for directory, cursor in cursors.items()]

    def reap(self, directory: str, order: Order) -> None:
        """Returns when everything is gone or stuck, or the shim turns out to live.

        Raises ReapUnfinished where another one was still at it when the patience was over.
        """
        files = AttemptFiles(root=Path(directory))
        orders.give(files, order)
        if not reaper.reap(files, patience=REAP_PATIENCE) and reaper.shim_is_dead(files):
            raise ReapUnfinished(f"another reaper has been at {files.root} for too long")

    def keep(self, directory: str, steps: Sequence[int]) -> None:
        files = AttemptFiles(root=Path(directory))
        write_json(files.keep, {"schema": SCHEMA, "steps": sorted(steps)})


def _create(files: AttemptFiles, record: LaunchRecord) -> bool:
    """launch.json, whole or not at all; False if somebody else wrote it first."""
    temporary = files.root / f".launch.{os.getpid()}.{time.monotonic_ns()}"
    write_json(temporary, record.to_json())
    try:
        os.link(temporary, files.launch)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    fsync_dir(files.root)
    fsync_dir(files.root.parent)
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _tail(log: Path) -> str:
    with suppress(OSError):  # the message is as good as it can be without it
        return log.read_bytes()[-_LOG_TAIL:].decode(errors="replace").strip() or "it said nothing"
    return "it left no log"
