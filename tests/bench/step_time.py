"""What `campaign` costs a training: its step time under the whole plane and by hand.

Both are the same program with the same spec.json, threads and environment, each in a session of its own.
By hand means that no part of the plane runs. The order A B B A A B B A .. lets a machine that slowly becomes slower favour neither.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from campaign import control
from campaign.api import Client
from specs.files import AttemptFiles, read_json, write_json
from specs.load import load
from specs.run import CampaignSpec
from tests.bench.figures import Verdict, median_interval, summary, verdict
from tests.bench.report import Result, Row, ratios
from tests.bench.stage import Stage, all_with, warm
from tests.bench.training import Training, attend, training_of

PAIRS = 8
STEPS = 50
GOAL = 0.01
RUN = "ep_rr_scratch"
DEADLINE = 300.0

_SAYS = {
    Verdict.WITHIN: f"within {GOAL:.0%}",
    Verdict.SLOWER: f"slower by more than {GOAL:.0%}",
    Verdict.UNDECIDED: f"undecided, as {GOAL:.0%} lies within the spread of the pairs",
}


_MEASURES = {
    "step": "a step",
    "whole": "a step, with evaluations and checkpoints",
    "cpu": "CPU time of that",
}


def measure(stage: Stage) -> Result:
    spec = _laptop_run()
    client = stage.home("home")
    under: list[Training] = []
    by_hand: list[Training] = []
    busy: list[float] = []
    for turn in range(PAIRS * stage.more):
        order = "AB" if turn % 2 == 0 else "BA"
        for which in order:
            if which == "A":
                trained, cpus = _under_campaign(client, spec, turn)
                under.append(trained)
                busy.append(cpus)
            else:
                by_hand.append(_by_hand(stage, client, turn))
    return _result(under, by_hand, busy)


def _laptop_run() -> CampaignSpec:
    """One run of specs/ep_resreg.yaml as it is, but for the number of steps."""
    path = Path(__file__).parents[2] / "specs" / "ep_resreg.yaml"
    sets = [f"{RUN}.trainer.steps={STEPS}"]
    run = load(path, profile="laptop", sets=sets).spec.runs[RUN]
    return CampaignSpec(campaign="step_time", profile="laptop", runs={RUN: run})


def _result(
    under: Sequence[Training], by_hand: Sequence[Training], busy: Sequence[float]
) -> Result:
    rows, notes = [], []
    for name, label in _MEASURES.items():
        hand = Row(what=f"{label}, by hand", samples=tuple(getattr(t, name) for t in by_hand))
        ours = Row(
            what=f"{label}, under campaign",
            samples=tuple(getattr(t, name) for t in under),
            against=hand.what,
            paired=True,
        )
        rows += [hand, ours]
        notes.append(f"{label}: {_judged(ratios(ours, hand))}")
    notes.append(
        "controller, Ray, watcher and publisher together used "
        f"{summary(busy).median:.1%} of one CPU while one run trained (median of {len(busy)})"
    )
    title = f"a training of {STEPS} steps (laptop profile, {RUN}), under campaign and by hand"
    return Result(name="step_time", title=title, rows=tuple(rows), notes=tuple(notes))


def _judged(found: Sequence[float]) -> str:
    between = median_interval(found)
    return (
        f"{_SAYS[verdict(found, goal=GOAL)]}; ratio of {len(found)} pairs: median "
        f"{summary(found).median:.3f}, true one in {between.low:.3f} .. {between.high:.3f} "
        f"with {between.confidence:.0%}"
    )


# ---------------------------------------------------------------- the two ways


def _under_campaign(client: Client, spec: CampaignSpec, turn: int) -> tuple[Training, float]:
    """The training, and how many CPUs the plane used meanwhile."""
    if client.controller() is None:
        warm(client)
    name = f"under_{turn}"
    files = AttemptFiles(root=client.home.attempt(name, RUN, 1))
    before, began = _plane_seconds(client), time.monotonic()
    client.submit(spec, as_name=name)
    samples = attend(lambda: _trainer(files), files.exit.exists)
    cpus = (_plane_seconds(client) - before) / (time.monotonic() - began)
    all_with("succeeded", client.wait(name, timeout=DEADLINE))
    return training_of(files.root, samples), cpus


def _by_hand(stage: Stage, client: Client, turn: int) -> Training:
    """The same program, with the spec.json, environment and folder that campaign gave it; no plane."""
    client.down()
    given = AttemptFiles(root=next(iter(client.home.root.glob(f"under_*/{RUN}/attempt-1"))))
    files = AttemptFiles(root=stage.folder(f"by-hand-{turn}"))
    write_json(files.spec, _present(given.spec))
    launch = _present(given.launch)
    with files.log.open("ab") as log:
        child = stage.start(
            [*launch["argv"][:-1], str(files.root)],
            env=launch["env"],
            cwd=launch["cwd"],
            stdout=log,
            stderr=log,
        )
    samples = attend(lambda: child.pid, lambda: child.poll() is not None)
    if child.returncode != 0:
        raise RuntimeError(f"the trainer ended with {child.returncode}: {files.log.read_text()}")
    return training_of(files.root, samples)


def _trainer(files: AttemptFiles) -> int | None:
    record = (read_json(files.pid) or {}).get("trainer")
    return None if record is None else int(record["pid"])


def _present(path: Path) -> Mapping[str, Any]:
    value = read_json(path)
    if value is None:
        raise FileNotFoundError(path)
    return value


def _plane_seconds(client: Client) -> float:
    """CPU seconds that the processes of the plane have used so far; Ray's head is one of them."""
    found = control.running(client.home)
    return 0.0 if found is None else sum(map(_cpu_seconds, _tree(found.identity.pid)))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
