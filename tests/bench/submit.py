"""Until a submit is acknowledged: read, checked and durable.

The naive version is what a queue of one's own would do: one transaction, one row a run, flushed to the
same disk. It does not read or check a file; `Client.submit` of a campaign that is resolved already, in
between, shows how much of the time that is.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from campaign.api import Client
from campaign.store import Store
from specs.load import load
from specs.run import CampaignSpec
from tests.bench.report import Result, Row
from tests.bench.stage import Stage

RUNS_AND_REPEATS = ((1, 15), (1000, 5))

BARE_INSERT = """
import json, sqlite3, sys
database, rows = sys.argv[1:]
with open(rows) as file:
    named = json.load(file)
db = sqlite3.connect(database, isolation_level=None)
db.execute("PRAGMA synchronous = FULL")
db.execute("BEGIN IMMEDIATE")
db.executemany("INSERT INTO runs (name, spec) VALUES (?, ?)", named)
db.execute("COMMIT")
"""
"""The naive version as a program of its own."""


def measure(stage: Stage) -> Result:
    rows: list[Row] = []
    for runs, repeats in RUNS_AND_REPEATS:
        rows += _of_size(stage, runs, repeats * stage.more)
    return Result(
        name="submit",
        title="a submit of so many runs, until it is acknowledged (durable)",
        rows=tuple(rows),
        notes=(
            "bare: open, one transaction of one row a run, WAL, synchronous=FULL, same disk; "
            "it reads and checks no file",
        ),
    )


def _of_size(stage: Stage, runs: int, repeats: int) -> list[Row]:
    """The four ways one after another, ``repeats`` times, each into a store of its own."""
    file = stage.file(f"of_{runs}.yaml", campaign_file(runs))
    spec = load(file).spec
    named = [(name, json.dumps(run.model_dump(mode="json"))) for name, run in spec.runs.items()]
    listed = stage.file(f"rows_{runs}.json", json.dumps(named))
    ways: dict[str, Callable[[str], float]] = {
        "bare insert": lambda place: _bare(stage.root / f"{place}.db", named),
        "Client.submit, resolved spec": lambda place: _client(stage, place, spec),
        "Client.submit, file": lambda place: _client(stage, place, file),
        "process: bare insert": lambda place: _bare_process(stage, place, listed),
        "process: campaign submit --no-start": lambda place: _command(stage, place, file),
    }
    samples: dict[str, list[float]] = {what: [] for what in ways}
    for turn in range(repeats + 1):
        for number, (what, way) in enumerate(ways.items()):
            seconds = way(f"submit-{runs}-{turn}-{number}")
            if turn > 0:  # the first imports modules and warms the caches
                samples[what].append(seconds)
    return [_row(f"{what}, {runs} runs", runs, tuple(found)) for what, found in samples.items()]


def _row(what: str, runs: int, samples: tuple[float, ...]) -> Row:
    if "bare" in what:
        return Row(what=what, samples=samples)
    against = "process: bare insert" if what.startswith("process") else "bare insert"
    return Row(what=what, samples=samples, against=f"{against}, {runs} runs")


def campaign_file(runs: int, argv: Sequence[str] = ("true",), name: str = "many") -> str:
    """A campaign of equal runs, each on a line of its own."""
    lines = [
        f"campaign: {name}",
        f"defaults: {{trainer: {{kind: command, argv: {list(argv)}}}}}",
        "runs:",
    ]
    return "\n".join([*lines, *(f"  r{number:04d}: {{}}" for number in range(runs))]) + "\n"


def _client(stage: Stage, place: str, source: Path | CampaignSpec) -> float:
    client = _empty_home(stage, place)
    began = time.perf_counter()
    client.submit(source, start=False)
    return time.perf_counter() - began


def _command(stage: Stage, place: str, file: Path) -> float:
    client = _empty_home(stage, place)
    argv = [sys.executable, "-P", "-m", "campaign.cli.main", "submit", str(file), "--no-start"]
    began = time.perf_counter()
    stage.run([*argv, "--home", str(client.home.root)])
    return time.perf_counter() - began


def _empty_home(stage: Stage, place: str) -> Client:
    """A home whose store is there: making it is not part of a submit."""
    client = Client(stage.root / place)
    client.home.create()
    Store(client.home.store).close()
    return client


def _bare(path: Path, named: Sequence[tuple[str, str]]) -> float:
    _empty_table(path)
    began = time.perf_counter()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO runs (name, spec) VALUES (?, ?)", named)
    db.execute("COMMIT")
    taken = time.perf_counter() - began
    db.close()
    return taken


def _bare_process(stage: Stage, place: str, listed: Path) -> float:
    path = stage.root / f"{place}.db"
    _empty_table(path)
    began = time.perf_counter()
    stage.run([sys.executable, "-I", "-S", "-c", BARE_INSERT, str(path), str(listed)])
    return time.perf_counter() - began


def _empty_table(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT, spec TEXT)")
    db.commit()
    db.close()
