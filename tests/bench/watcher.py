"""From a flushed metric line to the signal that it causes, through the real watcher and shim.

The naive version is the loop that people write in a shell: look at the last line of every file, kill
what is too high, sleep a second.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from campaign.latency import kill_latency
from specs.files import ENV_METRICS, AttemptFiles, parse_metric_line, read_json
from tests.bench.report import Result, Row
from tests.bench.stage import Stage, all_with, warm

KILLS = 40
AT_ONCE = 4
BOUND = 5.0
NAIVE_EVERY = 1.0

PROGRAM = """
import json, os, sys, time
def put(step, loss):
    with open(os.environ["CAMPAIGN_METRICS"], "a") as out:
        out.write(json.dumps({"t": time.time(), "step": step, "m": {"loss": loss}}) + "\\n")
put(1, 1.0)
time.sleep(float(sys.argv[1]))
put(2, 9.0)
time.sleep(600)
"""
"""The second line breaks the bound; it comes after a random time, so that no poll is in step with it."""


def measure(stage: Stage) -> Result:
    program = str(stage.file("diverges.py", PROGRAM))
    pause = random.Random(0)
    argvs = {
        f"r{number:03d}": [sys.executable, "-I", "-S", program, f"{pause.uniform(1.0, 2.0):.4f}"]
        for number in range(KILLS * stage.more)
    }
    kills = _under_campaign(stage, argvs)
    naive = _by_hand(stage, argvs)
    line_to_signal, naively = "line to SIGTERM", f"naive loop, {NAIVE_EVERY:g} s: line to os.kill"
    rows = (
        Row(what=naively, samples=naive, show_p99=True),
        Row(
            what="line to the watcher's verdict",
            samples=tuple(k.verdict for k in kills),
            show_p99=True,
        ),
        Row(
            what=line_to_signal,
            samples=tuple(k.signal for k in kills),
            against=naively,
            show_p99=True,
        ),
        Row(what="line to nothing left", samples=tuple(k.gone for k in kills), show_p99=True),
    )
    return Result(
        name="watcher",
        title=f"a threshold rule kills, {len(kills)} times, {AT_ONCE} runs at once",
        rows=rows,
        notes=("of fewer than 100 samples the p99 is the slowest",) if len(kills) < 100 else (),
    )


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Seconds since the time in the line that broke the bound."""

    verdict: float
    signal: float
    gone: float


def _under_campaign(stage: Stage, argvs: Mapping[str, list[str]]) -> list[Kill]:
    client = stage.home("home", cpu_slots=AT_ONCE)
    source = stage.file("diverges.yaml", _campaign(argvs))
    warm(client)
    client.submit(source)
    all_with("killed", client.wait("diverges", timeout=300.0 * stage.more))
    return [_kill(AttemptFiles(root=client.home.attempt("diverges", run, 1))) for run in argvs]


def _campaign(argvs: Mapping[str, list[str]]) -> str:
    rule = f"{{rule: threshold, metric: loss, above: {BOUND}, action: kill}}"
    head = (
        "campaign: diverges\n"
        f"defaults: {{trainer: {{kind: command, metrics: {{declared: [loss]}}}}, watch: [{rule}]}}\n"
        "runs:\n"
    )
    return head + "".join(
        f"  {run}: {{trainer: {{argv: {json.dumps(argv)}}}}}\n" for run, argv in argvs.items()
    )


def _kill(files: AttemptFiles) -> Kill:
    broke = _when_broken(files.metrics)
    term_at = (read_json(files.kill) or {}).get("term_at")
    found = kill_latency(files.root)
    if broke is None or term_at is None or found is None or found.gone is None:
        raise RuntimeError(f"{files.root} does not tell how its trainer was killed")
    return Kill(verdict=found.verdict, signal=term_at - broke, gone=found.gone)


def _when_broken(metrics: Path) -> float | None:
    """The time in the first line whose loss is above the bound; None if there is none yet."""
    for data in metrics.read_bytes().splitlines() if metrics.exists() else ():
        line = parse_metric_line(data)
        if line is not None and line.metrics.get("loss", 0.0) > BOUND:
            return line.t
    return None


def _by_hand(stage: Stage, argvs: Mapping[str, list[str]]) -> tuple[float, ...]:
    """The naive loop over the same trainers, all at once."""
    running: dict[Path, subprocess.Popen[bytes]] = {}
    for run, argv in argvs.items():
        metrics = stage.root / f"naive-{run}.jsonl"
        running[metrics] = stage.start(argv, env={**os.environ, ENV_METRICS: str(metrics)})
    latencies = []
    while running:
        for metrics, child in list(running.items()):
            if (broke := _when_broken(metrics)) is not None:
                os.kill(child.pid, signal.SIGTERM)  # our own child, not yet reaped
                latencies.append(time.time() - broke)
                child.wait()
                del running[metrics]
        time.sleep(NAIVE_EVERY)
    return tuple(latencies)
