"""Two hundred runs of `true` on two slots, from the submit until the last is done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.report import Result, Row
from tests.bench.stage import Stage, all_with, warm
from tests.bench.submit import campaign_file

RUNS = 200
SLOTS = 2
PEER_REPEATS = 5
REPEATS = 2
DEADLINE = 400.0

FLOOR = "xargs -P2, the floor"
_PARALLEL = "GNU parallel -j2"
_SPOOLER = "task-spooler -S 2"


def measure(stage: Stage) -> Result:
    source = stage.file("many.yaml", campaign_file(RUNS))
    rows, notes = [], []
    for what, run in _peers(stage).items():
        if run is None:
            notes.append(f"{what}: not installed")
            continue
        samples = tuple(_timed(run) for _ in range(PEER_REPEATS * stage.more))
        rows.append(Row(what=what, samples=samples, against=None if what == FLOOR else FLOOR))
    rows += [_without_ray(stage, source), _with_ray(stage, source)]
    return Result(
        name="many",
        title=f"{RUNS} runs of `true` on {SLOTS} slots, from the submit until all are done",
        rows=tuple(rows),
        notes=(
            *notes,
            "campaign keeps spec, log, metrics, events and exit record of each run, flushed to disk, "
            "and has it watched; the others keep an exit code",
        ),
    )


def _names(stage: Stage) -> list[str]:
    return [f"many_{turn}" for turn in range(REPEATS * stage.more)]


def _timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


# ---------------------------------------------------------------- campaign


def _without_ray(stage: Stage, source: Path) -> Row:
    client = stage.home("debug", cpu_slots=SLOTS)
    argv = [sys.executable, "-P", "-m", "campaign.cli.main", "submit", str(source), "--debug"]

    def run(name: str) -> None:
        stage.run([*argv, "--as", name, "--home", str(client.home.root)])
        all_with("succeeded", client.runs(name))

    samples = tuple(_timed(partial(run, name)) for name in _names(stage))
    return Row(what="campaign submit --debug (no Ray), the command", samples=samples, against=FLOOR)


def _with_ray(stage: Stage, source: Path) -> Row:
    client = stage.home("ray", cpu_slots=SLOTS)
    warm(client)

    def run(name: str) -> None:
        client.submit(source, as_name=name)
        all_with("succeeded", client.wait(name, timeout=DEADLINE))

    samples = tuple(_timed(partial(run, name)) for name in _names(stage))
    return Row(what="campaign, plane warm", samples=samples, against=FLOOR)


# ---------------------------------------------------------------- peers


def _peers(stage: Stage) -> dict[str, Callable[[], None] | None]:
    """What others wrote for the same; None for what is not installed."""
    numbers = "".join(f"{number}\n" for number in range(RUNS))
    parallel = _program("GNU parallel", ("parallel",), "--version")
    spooler = _program("Task Spooler", ("tsp", "ts"), "-V")
    quiet = {**os.environ, "PARALLEL_HOME": str(stage.folder("parallel"))}

    def run_parallel() -> None:
        stage.run([str(parallel), f"-j{SLOTS}", "true"], stdin=numbers, env=quiet)

    return {
        FLOOR: lambda: stage.run(["xargs", f"-P{SLOTS}", "-n1", "true"], stdin=numbers),
        _PARALLEL: None if parallel is None else run_parallel,
        _SPOOLER: None if spooler is None else _spooler(stage, spooler),
    }


def _program(says: str, names: tuple[str, ...], version: str) -> str | None:
    """The first that is the right one: moreutils has other programs of the same names."""
    for name in names:
        if (path := shutil.which(name)) is None:
            continue
        said = subprocess.run([path, version], capture_output=True, text=True, check=False)
        if says in said.stdout + said.stderr:
            return path
    return None


def _spooler(stage: Stage, program: str) -> Callable[[], None]:
    """All runs into a server of its own, by a shell; then wait for the two that are started last."""
    where = stage.folder("spooler")
    env = {**os.environ, "TS_SOCKET": str(where / "socket"), "TMPDIR": str(where)}
    stage.at_end(lambda: stage.run([program, "-K"], env=env))  # ends the server of this socket
    stage.run([program, "-S", str(SLOTS)], env=env)
    script = (
        f'for i in $(seq {RUNS}); do "$0" -n true; done > ids && '
        f'for id in $(tail -n {SLOTS} ids); do "$0" -w "$id"; done'
    )
    return lambda: stage.run(["sh", "-c", script, program], env=env, cwd=where)
