"""Any program as a trainer: ``python -P -m trainers.command <attempt directory>``.

The program is a child that writes straight into log.txt. Beside it this process reads metrics from its
log if there is a pattern, samples the machine, and seals its checkpoints; it passes signals on, and ends
as the program ends. Standard library only, so that it starts at once.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from specs.files import (
    ENV_CHECKPOINTS,
    ENV_METRICS,
    ENV_RESUME,
    AttemptFiles,
    BadCheckpoint,
    read_json,
    verify_manifest,
)
from specs.pattern import LinePattern, compile_pattern
from trainers.events import EventLog
from trainers.follow import LineReader, LogFollower
from trainers.metrics import MetricWriter
from trainers.relay import Relay
from trainers.seal import Sealer
from trainers.shared import SharedFile, last_step
from trainers.system import Sampler, sources

COULD_NOT_START_EXIT = 127
BAD_CHECKPOINT_EXIT = 13


class Helper(Protocol):
    """A thread beside the program."""

    def start(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What the wrapper reads of spec.json, whose settings were checked when it was submitted."""

    argv: tuple[str, ...]
    cwd: str | None
    env: Mapping[str, str]
    pattern: LinePattern | None
    resume_from: str | None
    manifest_sha256: str | None
    facts: Mapping[str, object]


class CouldNotStart(Exception):
    """The program cannot be run; the message says why and what to do."""


def main(argv: list[str]) -> int:
    """Run the attempt in the directory ``argv[1]``. Returns the exit code, or -n for signal n."""
    relay = Relay()
    if len(argv) != 2 or not Path(argv[1]).is_dir():
        print("usage: python -P -m trainers.command <attempt directory>", file=sys.stderr)
        return 2
    files = AttemptFiles(root=Path(argv[1]).absolute())
    events = EventLog(files.events)
    try:
        assignment = read_assignment(files)
        if assignment.resume_from is not None:
            resume_from = Path(assignment.resume_from)
            verify_manifest(resume_from, manifest_sha256=assignment.manifest_sha256)
        log_begin = files.log.stat().st_size if files.log.exists() else 0
        files.checkpoints.mkdir(mode=0o700, exist_ok=True)
        child = start(assignment, files)
    except BadCheckpoint as error:
        return _failed(events, "bad_checkpoint", str(error), BAD_CHECKPOINT_EXIT)
    except CouldNotStart as error:
        return _failed(events, "could_not_start", str(error), COULD_NOT_START_EXIT)
    relay.to(child)
    events.state("started", pid=child.pid, argv=list(assignment.argv))
    code = attend(child, assignment, files, events, log_begin)
    _state_end(events, code)
    return code


def read_assignment(files: AttemptFiles) -> Assignment:
    """Raises CouldNotStart where spec.json is missing or is not that of a command."""
    try:
        content = read_json(files.spec)
        if content is None:
            raise CouldNotStart(f"{files.spec} is missing")
        trainer: Mapping[str, Any] = content["spec"]["trainer"]
        pattern = (trainer.get("metrics") or {}).get("pattern")
        return Assignment(
            argv=tuple(trainer["argv"]),
            cwd=trainer.get("cwd"),
            env=trainer.get("env") or {},
            pattern=None if pattern is None else compile_pattern(pattern),
            resume_from=content["start"].get("checkpoint"),
            manifest_sha256=content["start"].get("manifest_sha256"),
            facts={
                name: content[name] for name in ("campaign", "run", "attempt", "spec_hash")
            } | {"kind": "command"},
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CouldNotStart(f"{files.spec} cannot be read: {error!r}") from error


def environment(
    assignment: Assignment, files: AttemptFiles, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What the program finds: what we were started with, its own additions, and where its files go."""
    found = {"PYTHONUNBUFFERED": "1", **inherited, **assignment.env}
    found.pop(ENV_RESUME, None)
    found[ENV_METRICS] = str(files.metrics)
    found[ENV_CHECKPOINTS] = str(files.checkpoints)
    if assignment.resume_from is not None:
        found[ENV_RESUME] = assignment.resume_from
    return found


def start(assignment: Assignment, files: AttemptFiles) -> subprocess.Popen[bytes]:
    """The program as a child, its output ours, in our process group.

    It inherits the device locks, so that a device is free only when the last of the tree is gone. Raises
    CouldNotStart.
    """
    cwd = assignment.cwd
    if cwd is not None and not Path(cwd).is_dir():
        raise CouldNotStart(f"the working directory {cwd} is not there (trainer.cwd)")
    try:
        return subprocess.Popen(
            assignment.argv,
            cwd=cwd,
            env=environment(assignment, files, os.environ),
            stdin=subprocess.DEVNULL,
            close_fds=False,
        )
    except OSError as error:
        raise CouldNotStart(_why_not(assignment.argv[0], cwd or os.curdir, error)) from error


def _why_not(program: str, cwd: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        if "/" in program:
            return f"{program} is not there, or the interpreter in its first line is not (trainer.argv)"
        if (Path(cwd) / program).is_file():
            return (
                f"{program} is not in PATH, but in the working directory: write ./{program} "
                "(trainer.argv)"
            )
        return f"{program} is not in PATH (trainer.argv)"
    if isinstance(error, PermissionError):
        return f"{program} may not be executed: chmod +x, or name its interpreter (trainer.argv)"
    return f"{program} cannot be executed: {error.strerror} (trainer.argv)"


def attend(
    child: subprocess.Popen[bytes],
    assignment: Assignment,
    files: AttemptFiles,
    events: EventLog,
    log_begin: int,
) -> int:
    """Stay beside the program until it ends; returns its exit code, or -n for signal n."""
    metrics = MetricWriter(files.metrics, may_write=SharedFile(files.metrics).may_append)
    sealer = Sealer(
        files.checkpoints,
        assignment.facts,
        sealed=lambda step: events.state("checkpoint", step=step),
        note=events.note,
    )
    sampler = Sampler(
        lambda: sources(child.pid, os.environ, events.note),
        emit=lambda found: metrics.emit(last_step(files.metrics), found),
        note=events.note,
    )
    helpers: list[Helper] = [sealer, sampler]
    if assignment.pattern is not None:
        reader = LineReader(assignment.pattern, emit=metrics.emit, note=events.note)
        helpers.append(LogFollower(files.log, log_begin, reader.take))
    for helper in helpers:
        _carefully(helper.start, events)
    code = child.wait()
    for helper in helpers:
        _carefully(helper.close, events)
    _carefully(metrics.close, events)
    return code


def _carefully(action: Callable[[], None], events: EventLog) -> None:
    try:
        action()
    except Exception as error:  # noqa: BLE001 - the program and its exit code come first
        events.note(f"the wrapper failed beside the program: {type(error).__name__}: {error}")


def _state_end(events: EventLog, code: int) -> None:
    if code == 0:
        events.state("finished")
    elif code > 0:
        events.state("exited", exit_code=code)
    else:
        events.state("exited", signal=-code)


def _failed(events: EventLog, failure_class: str, message: str, exit_code: int) -> int:
    print(f"failed ({failure_class}): {message}", file=sys.stderr, flush=True)
    events.state("failed", **{"class": failure_class, "message": message})
    return exit_code


def end_as(code: int) -> None:
    """End this process as the program did: with its exit code, or by its signal (without a core)."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code >= 0:
        os._exit(code)  # threads of ours that hang in a driver must not hold up the end
    number = -code
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    end_as(main(sys.argv))
