"""From a submit to the trainer's first metric line, with controller and Ray up.

The time is the one that the trainer writes into its line, so that nobody's polling is measured.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from campaign.api import Client
from specs.files import ENV_METRICS, AttemptFiles, parse_metric_line, read_json
from tests.bench.report import Result, Row
from tests.bench.stage import DEADLINE, Stage, all_with, warm

REPEATS = 15
PROGRAM = """
import json, os, time
with open(os.environ["CAMPAIGN_METRICS"], "a") as out:
    out.write(json.dumps({"t": time.time(), "step": 1, "m": {"loss": 1.0}}) + "\\n")
"""
_ACKNOWLEDGED = "submit to acknowledged"
_STARTED = "submit to the trainer process started"
_LINE = "submit to its first line"
_BY_HAND = "Popen of the same argv to its first line"


def measure(stage: Stage) -> Result:
    client = stage.home("home")
    argv = (sys.executable, "-I", "-S", str(stage.file("first.py", PROGRAM)))
    source = stage.file("first.yaml", _campaign(argv))
    warm(client)
    pause = random.Random(0)
    samples: dict[str, list[float]] = {w: [] for w in (_BY_HAND, _ACKNOWLEDGED, _STARTED, _LINE)}
    for turn in range(REPEATS * stage.more):
        # the controller looks at fixed intervals: submits must not fall into step with them
        time.sleep(pause.uniform(0.0, 0.2))
        samples[_BY_HAND].append(_by_hand(stage, argv, turn))
        for what, seconds in zip(
            (_ACKNOWLEDGED, _STARTED, _LINE),
            _submitted(client, source, f"first_{turn}"),
            strict=True,
        ):
            samples[what].append(seconds)
    return Result(
        name="first_line",
        title="a single submit until the trainer writes its first metric line, plane warm",
        rows=tuple(
            Row(what=what, samples=tuple(found), against=_BY_HAND if what == _LINE else None)
            for what, found in samples.items()
        ),
    )


def _campaign(argv: Sequence[str]) -> str:
    return (
        "campaign: first\n"
        f"runs: {{r: {{trainer: {{kind: command, argv: {json.dumps(argv)}, "
        "metrics: {declared: [loss]}}}}\n"
    )


def _submitted(client: Client, source: Path, name: str) -> tuple[float, float, float]:
    """Seconds from the submit to the acknowledgement, the wrapper's start, the program's line."""
    began = time.time()
    client.submit(source, as_name=name)
    acknowledged = time.time() - began
    all_with("succeeded", client.wait(name, timeout=DEADLINE))
    files = AttemptFiles(root=client.home.attempt(name, "r", 1))
    started = (read_json(files.pid) or {})["started_at"] - began
    return acknowledged, started, _first_line(files.metrics) - began


def _by_hand(stage: Stage, argv: Sequence[str], turn: int) -> float:
    metrics = stage.root / f"by-hand-{turn}.jsonl"
    began = time.time()
    child = stage.start(argv, env={**os.environ, ENV_METRICS: str(metrics)})
    if child.wait(DEADLINE) != 0:
        raise RuntimeError(f"{argv} ended with {child.returncode}")
    return _first_line(metrics) - began


def _first_line(path: Path) -> float:
    """When the first line was written, in unix seconds."""
    line = parse_metric_line(path.read_bytes().splitlines()[0])
    if line is None:
        raise RuntimeError(f"{path} does not begin with a metric line")
    return line.t
