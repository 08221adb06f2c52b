"""The kill ladder where the shim is dead: run by the host's watcher or supervisor, one at a time.

It is not the parent: it signals through pidfds after checking identity and cookie, and it cannot know
an exit code. Standard library only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from campaign.hosts import inbox, locks, records, release
from campaign.hosts.family import Survivors
from campaign.hosts.identity import boot_id, is_alive
from campaign.hosts.inbox import Mail
from campaign.hosts.kill_log import KillLog
from campaign.hosts.ladder import Ending, Ladder
from campaign.hosts.locks import Held
from campaign.hosts.records import ExitRecord, LaunchRecord, PidRecord
from specs.files import AttemptFiles, read_json

BY_REAPER = "reaper"
_RETRY = 0.2


def shim_is_dead(files: AttemptFiles) -> bool:
    """Whether the attempt had a shim that is gone without having recorded an end."""
    pid = records.pid_record(read_json(files.pid))
    return pid is not None and not files.exit.exists() and not is_alive(pid.shim)


def reap(files: AttemptFiles, *, patience: float = 0.0) -> bool:
    """End everything that a dead shim left behind, and record it; an order to stop must lie there.

    False if the shim is alive after all, or if somebody else was still at it after ``patience``
    seconds. Doing it again does no harm.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            with locks.holding(files.kill_lock):
                _reap(files)
                return True
        except Held:
            if time.monotonic() >= deadline or not shim_is_dead(files):
                return False
            time.sleep(_RETRY)


def _reap(files: AttemptFiles) -> None:
    launch = records.read_launch(files)
    if launch is None:
        raise FileNotFoundError(f"{files.launch} is not there: no attempt to reap")
    pid = records.pid_record(read_json(files.pid))
    survivors = Survivors(launch.cookie, None if pid is None else pid.trainer)
    if files.exit.exists() and not survivors.members():
        return
    log = KillLog(files, attempt=launch.attempt, cookie=launch.cookie)
    log.begin(_first_stop(files, launch), by=BY_REAPER)
    ending = Ladder(
        processes=survivors,
        clock=_Clock(survivors=survivors),
        record=log.rung,
        grace=lambda: inbox.shortest_grace(_stops(files, launch), launch.grace),
        terminated_at=log.terminated_at,
    ).climb()
    log.finish(ending, at=time.time())
    if not files.exit.exists():
        records.write_exit(files, _exit(launch, pid, log, ending, survivors))


def _stops(files: AttemptFiles, launch: LaunchRecord) -> list[Mail]:
    return [
        mail
        for mail in inbox.read_orders(files)
        if mail.problem is None and mail.action == inbox.STOP and mail.cookie == launch.cookie
    ]


def _first_stop(files: AttemptFiles, launch: LaunchRecord) -> Mail:
    """The reason for the end, unless an interrupted ladder had begun for another."""
    stops = _stops(files, launch)
    if not stops:
        raise FileNotFoundError(f"{files.root} holds no order to stop: nothing may be signalled")
    return stops[0]


def _exit(
    launch: LaunchRecord,
    pid: PidRecord | None,
    log: KillLog,
    ending: Ending,
    survivors: Survivors,
) -> ExitRecord:
    leader = None if pid is None else pid.trainer
    order: dict[str, Any] = {k: v for k, v in (log.order or {}).items() if k != "number"}
    return ExitRecord(
        attempt=launch.attempt,
        cookie=launch.cookie,
        outcome=records.EXITED,
        written_by=BY_REAPER,
        started_at=None if pid is None else pid.started_at,
        ended_at=time.time(),
        order=order,
        detail="; ".join(("its shim was dead", *ending.left)),
        swept=ending.swept,
        gpu_release=release.after(
            launch,
            ending,
            leader=leader,
            baseline={} if pid is None else pid.baseline,
            probe=lambda: release.run_probe(launch.probe_argv, launch.env),
            clock=_Clock(survivors=survivors),
            rebooted=pid is not None and pid.shim.boot_id != boot_id(),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Clock:
    survivors: Survivors

    def monotonic(self) -> float:
        return time.monotonic()

    def unix(self) -> float:
        return time.time()

    def wait(self, seconds: float) -> None:
        self.survivors.wait(seconds)
