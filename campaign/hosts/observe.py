"""What is true of an attempt now, from its files and processes. Cheap enough for ten looks a second."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.hosts import identity, locks, records
from campaign.hosts.identity import Identity
from campaign.hosts.port import CheckpointFacts, Cursor, Liveness, Observation
from campaign.hosts.records import LaunchRecord, PidRecord
from specs.files import (
    EVIDENCE,
    MANIFEST,
    AttemptFiles,
    complete_lines,
    digest,
    read_json,
)

LARGEST_READ = 4 * 2**20
"""Bytes of new lines that one look takes in."""

_SETTLED = 2.0
"""Seconds after which a directory's time of change is trusted: within one tick it may change twice."""

Json = Mapping[str, Any]
Stamp = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class _Checkpoints:
    stamp: Stamp
    settled: bool
    facts: tuple[CheckpointFacts, ...]


class Observer:
    """Looks at attempts and remembers what has not changed. May be used by several threads."""

    def __init__(self) -> None:
        self._files: dict[Path, tuple[Stamp, Json | None]] = {}
        self._launches: dict[Path, LaunchRecord] = {}
        self._checkpoints: dict[Path, _Checkpoints] = {}
        self._problems: dict[Path, str] = {}
        self._guard = threading.RLock()

    @property
    def problems(self) -> tuple[str, ...]:
        """Files that could not be read when they were last looked at."""
        with self._guard:
            return tuple(self._problems.values())

    def forget_others(self, directories: frozenset[Path]) -> None:
        """Drop what is remembered of attempts that nobody asks about any more."""
        with self._guard:
            for known in (self._files, self._launches, self._checkpoints, self._problems):
                for path in [p for p in known if not directories & {p, p.parent}]:
                    del known[path]

    def look(self, directory: str, cursor: Cursor) -> Observation:
        with self._guard:
            return self._look(AttemptFiles(root=Path(directory)), cursor)

    def _look(self, files: AttemptFiles, cursor: Cursor) -> Observation:
        # exit.json first: what it says of processes is then already true of the later looks
        exit_record = self._json(files.exit)
        launch = self._launch(files)
        pid_json = self._json(files.pid)
        pid = records.pid_record(pid_json)
        kill = self._json(files.kill)
        events, events_at = _new_lines(files.events, cursor.events)
        watch, watch_at = _new_lines(files.watch, cursor.watch)
        shim, trainer = _liveness(launch, pid, exit_record)
        return Observation(
            directory=str(files.root),
            launched=launch is not None,
            shim=shim,
            trainer=trainer,
            locks_held=_locks_held(launch, pid, shim),
            same_boot=pid is None or pid.shim.boot_id == identity.boot_id(),
            pid=pid_json,
            exit=exit_record,
            kill=kill if kill is not None and kill.get("order") is not None else None,
            progress=self._json(files.progress),
            events=events,
            watch=watch,
            checkpoints=self._checkpoints_of(files),
            cursor=Cursor(events=events_at, watch=watch_at),
        )

    # ------------------------------------------------------------ files

    def _launch(self, files: AttemptFiles) -> LaunchRecord | None:
        """Written once, so read once."""
        known = self._launches.get(files.root)
        if known is None:
            try:
                known = records.read_launch(files)
            except (ValueError, TypeError, KeyError) as error:
                self._problems[files.launch] = f"{files.launch} is not readable: {error}"
                return None
            if known is not None:
                self._launches[files.root] = known
        return known

    def _json(self, path: Path) -> Json | None:
        """The object in ``path``, read again only when the file is another one."""
        stamp = _stamp(path)
        if stamp is None:
            return None
        if (known := self._files.get(path)) is not None and known[0] == stamp:
            return known[1]
        try:
            value = read_json(path)
            self._problems.pop(path, None)
        except ValueError as error:  # one broken file must not hide the other attempts
            self._problems[path] = f"{path} is not readable: {error}"
            value = None
        self._files[path] = (stamp, value)
        return value

    def _checkpoints_of(self, files: AttemptFiles) -> tuple[CheckpointFacts, ...]:
        stamp = _stamp(files.checkpoints)
        if stamp is None:
            return ()
        known = self._checkpoints.get(files.root)
        if known is not None and known.settled and known.stamp == stamp:
            return known.facts
        before = {} if known is None else {facts.step: facts for facts in known.facts}
        found = [self._checkpoint(files, s, before.get(s)) for s in files.complete_checkpoints()]
        facts = tuple(f for f in found if f is not None)
        # a directory that is younger than the clock's tick, or not complete yet, is looked at again
        settled = time.time() - stamp[0] / 1e9 > _SETTLED and len(facts) == _steps(files)
        self._checkpoints[files.root] = _Checkpoints(stamp=stamp, settled=settled, facts=facts)
        return facts

    def _checkpoint(
        self, files: AttemptFiles, step: int, before: CheckpointFacts | None
    ) -> CheckpointFacts | None:
        directory = files.checkpoint(step)
        manifest = directory / MANIFEST
        try:
            completed_at = manifest.stat().st_mtime
            if before is not None and before.completed_at == completed_at:
                return before
            return CheckpointFacts(
                step=step,
                path=str(directory),
                manifest_sha256=digest(manifest),
                completed_at=completed_at,
                evidence=self._json(directory / EVIDENCE),
            )
        except FileNotFoundError:  # deleted by retention while we looked
            return None


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _steps(files: AttemptFiles) -> int:
    return sum(entry.name.startswith("step-") for entry in files.checkpoints.iterdir())


def _new_lines(path: Path, start: int) -> tuple[tuple[Json, ...], int]:
    """The objects in the complete lines after ``start``, and where the next look begins.

    A line that holds no JSON object is passed over; a file that became shorter begins anew.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return (), start
    if size == start:
        return (), start
    start = start if start <= size else 0
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(LARGEST_READ)
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) == LARGEST_READ:
        end = len(data)  # one endless line: its pieces are no objects and are passed over
    lines = (_object(line) for line in complete_lines(data[:end]))
    return tuple(line for line in lines if line is not None), start + end


def _object(line: bytes) -> Json | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# ---------------------------------------------------------------- processes


def _liveness(
    launch: LaunchRecord | None, pid: PidRecord | None, exit_record: Json | None
) -> tuple[Liveness, Liveness]:
    """Shim and trainer. Under a dead shim, whatever carries the cookie counts as the trainer."""
    if launch is None or pid is None:
        return Liveness.UNBORN, Liveness.UNBORN
    shim = _alive(pid.shim)
    if pid.trainer is not None and _alive(pid.trainer) is Liveness.ALIVE:
        return shim, Liveness.ALIVE
    if shim is Liveness.ALIVE:
        return shim, Liveness.UNBORN if pid.trainer is None else Liveness.DEAD
    left = exit_record is None and bool(identity.carriers(launch.cookie))
    return shim, Liveness.ALIVE if left else Liveness.DEAD


def _alive(process: Identity) -> Liveness:
    return Liveness.ALIVE if identity.is_alive(process) else Liveness.DEAD


def _locks_held(launch: LaunchRecord | None, pid: PidRecord | None, shim: Liveness) -> bool:
    """Whether a device lock of the attempt is held; a live shim that has them is not asked."""
    if launch is None:
        return False
    if shim is Liveness.ALIVE and pid is not None and pid.locked:
        return True
    return any(locks.is_held(Path(path)) for path in launch.locks.values())
