"""The store and MLflow say the same of every way in which an attempt can end, from the same files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from campaign import events as e
from campaign.hosts.observe import Observer
from campaign.hosts.port import Cursor
from campaign.records import Ending
from specs.files import write_json
from tests.campaign.worlds import ROLLBACK, World, spec
from tests.watchers.mlflow_homes import FakeAttempt, FakeHome
from watchers.mlflow_attempts import directories
from watchers.mlflow_cursor import Ledger
from watchers.mlflow_memory import MemoryRun, MemoryTarget
from watchers.mlflow_mirror import Mirror

STATUS = {
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "lost": "FAILED",
    "killed": "KILLED",
    "cancelled": "KILLED",
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """What an attempt leaves behind that ends so; ``result`` and ``failure``: what both have to say."""

    result: str
    failure: str | None = None
    rule: str | None = None
    exit: dict[str, Any] | None = field(default_factory=dict)
    stated: dict[str, Any] | None = None
    verdict: str | None = None


def stated(failure: str) -> dict[str, Any]:
    return {"t": 1.0, "event": "failed", "class": failure, "message": f"it was {failure}"}


def ordered(by: str, **more: Any) -> dict[str, Any]:
    return {"by": by, "key": "k", "action": "stop", "reason": f"{by} wants it", **more}


BY_RULE = ordered("watcher", rule="blow_up")
KILLED: dict[str, Any] = {"exit_code": None, "signal": 9}
WAYS: dict[str, Way] = {
    "succeeded": Way(result="succeeded"),
    "bad_exit": Way(result="failed", failure="bad_exit", exit={"exit_code": 3}),
    "killed from outside": Way(result="failed", failure="bad_exit", exit=KILLED),
    "non_finite": Way(
        result="failed", failure="non_finite", exit={"exit_code": 1}, stated=stated("non_finite")
    ),
    "cuda_oom": Way(
        result="failed", failure="cuda_oom", exit={"exit_code": 1}, stated=stated("cuda_oom")
    ),
    "host_oom": Way(
        result="failed", failure="host_oom", exit={"exit_code": 1}, stated=stated("host_oom")
    ),
    "gpu_fault": Way(
        result="failed", failure="gpu_fault", exit={"exit_code": 1}, stated=stated("gpu_fault")
    ),
    "bad_checkpoint": Way(
        result="failed", failure="bad_checkpoint", exit={"exit_code": 13}, stated=stated("bad_checkpoint"),
    ),
    "an unknown class": Way(
        result="failed", failure="bad_exit", exit={"exit_code": 1}, stated=stated("solar_flare")
    ),
    "timeout": Way(
        result="failed", failure="timeout", exit={**KILLED, "failure_class": "timeout", "order": ordered("shim")},
    ),
    "timeout obeyed": Way(
        result="failed", failure="timeout", exit={"exit_code": 0, "failure_class": "timeout", "order": ordered("shim")},
    ),
    "its shim was terminated": Way(
        result="failed", failure="preempted",
        exit={"exit_code": 143, "failure_class": "preempted", "order": ordered("shim")},
    ),
    "preempted": Way(result="failed", failure="preempted", exit={"exit_code": None, "signal": 15}),
    "killed by a rule": Way(
        result="killed", rule="blow_up", exit={**KILLED, "order": BY_RULE}, verdict="kill"
    ),
    "killed by a rule, and obeyed": Way(
        result="killed", rule="blow_up", exit={"order": BY_RULE}, verdict="kill"
    ),
    "rolled back": Way(
        result="killed", rule="blow_up", exit={"exit_code": 143, "order": BY_RULE}, verdict="rollback",
    ),
    "cancelled": Way(result="cancelled", exit={"exit_code": 143, "order": ordered("user")}),
    "killed by the user": Way(result="cancelled", exit={**KILLED, "order": ordered("user")}),
    "lost": Way(
        result="lost", exit={"exit_code": None, "written_by": "reaper", "order": ordered("controller")},
    ),
    "could_not_start": Way(
        result="failed", failure="could_not_start",
        exit={"outcome": "could_not_start", "failure_class": "could_not_start", "exit_code": None, "detail": "GPU-a is used"},
    ),
    "its program is not there": Way(
        result="failed", failure="could_not_start", exit={"exit_code": 127}, stated=stated("could_not_start"),
    ),
    "its shim never came up": Way(result="failed", failure="could_not_start", exit=None),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_the_store_and_mlflow_say_the_same_of_an_attempt(way: Way, tmp_path: Path) -> None:
    attempt = FakeHome(tmp_path).attempt()
    _leave(attempt, way)
    kept, shown = _in_the_store(attempt, way), _in_mlflow(tmp_path)
    assert (kept.result, kept.failure_class, kept.rule) == (way.result, way.failure, way.rule)
    assert shown.status == STATUS[kept.result]
    told = ("result", "failure_class", "rule", "reason")
    assert {n: shown.tags[n] for n in told if n in shown.tags} == {
        name: str(value) for name in told if (value := getattr(kept, name)) is not None
    }


def _leave(attempt: FakeAttempt, way: Way) -> None:
    attempt.curve([1, 2])
    if way.exit is None:
        write_json(attempt.files.unstarted, {"schema": 1, "at": attempt.started_at})
        return
    if way.stated is not None:
        attempt.files.events.write_text(json.dumps(way.stated) + "\n")
    if way.verdict is not None:
        line = {"kind": "verdict", "key": "v", "t": 1.0, "action": way.verdict, "rule": "blow_up"}
        attempt.files.watch.write_text(json.dumps({**line, "reason": "too high"}) + "\n")
    attempt.leave(**way.exit)


def _in_the_store(attempt: FakeAttempt, way: Way) -> Ending:
    """What the controller concludes from a look at the files."""
    world = World(a=spec(watch=[ROLLBACK]))
    world.tick()
    if way.exit is None:
        world.tell(e.ProvedUnstarted(attempt=world.attempt("a").id))
    else:
        attempt.files.pid.unlink()  # of a process that never was
        seen = Observer().look(str(attempt.root), Cursor())
        world.tell(e.Observed(attempt=world.attempt("a").id, observation=seen))
    status = world.attempt("a", 1).status
    assert status.status == "done"
    return status.ending


def _in_mlflow(home: Path) -> MemoryRun:
    target, ledger = MemoryTarget(), Ledger.open(home / "publisher.db")
    mirror = Mirror(target, ledger, say=lambda text: None)
    while mirror.advance(directories(home)):
        pass
    ledger.close()
    (run,) = target.runs.values()
    return run
