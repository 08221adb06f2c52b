"""Laws of a whole campaign in the foreground: real shims, trainers and rules; no Ray, no MLflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from campaign.api import Client
from campaign.errors import ExitCode
from campaign.hosts import identity
from campaign.hosts.identity import Identity

pytestmark = pytest.mark.heavy

DEADLINE = 60.0
PATTERN = r"step (?P<step>\d+) loss (?P<loss>\S+)"
CALM = "for s in range(30): print('step', s, 'loss', 1 / (1 + s), flush=True); time.sleep(0.02)"
WILD = "for s in range(3000): print('step', s, 'loss', 1 if s < 5 else s, flush=True); time.sleep(0.02)"
LONG = "for s in range(300): print('step', s, 'loss', 1, flush=True); time.sleep(0.02)"
CRASH = "print('step 1 loss 1', flush=True); raise SystemExit(3)"
BLOW_UP = {"name": "blow_up", "rule": "divergence", "metric": "loss", "above_best_by": 0.5}


def _run(code: str, **more: Any) -> dict[str, Any]:
    trainer = {
        "kind": "command",
        "argv": [sys.executable, "-c", f"import time\n{code}"],
        "metrics": {"pattern": PATTERN},
    }
    return {"trainer": trainer, "retry": {"crashes": 0}, **more}


def _without_ray_and_mlflow(directory: Path) -> str:
    """A folder whose ray and mlflow cannot be imported, to stand before the installed ones."""
    for name in ("ray", "mlflow"):
        (directory / name).mkdir(parents=True)
        (directory / name / "__init__.py").write_text(f"raise ImportError('{name} is not here')\n")
    return str(directory)


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": _without_ray_and_mlflow(tmp_path / "absent")}

    def start(*words: str, **runs: dict[str, Any]) -> subprocess.Popen[str]:
        path = tmp_path / "c.yaml"
        path.write_text(json.dumps({"campaign": "c", "runs": runs}))
        return subprocess.Popen(
            [sys.executable, "-m", "campaign.cli.main", "submit", str(path), "--debug", *words],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


Submit = Callable[..., subprocess.Popen[str]]


def test_a_campaign_is_run_watched_and_killed_by_its_rule(submit: Submit, tmp_path: Path) -> None:
    child = submit(
        "--json",
        calm=_run(CALM),
        wild=_run(WILD, watch=[{**BLOW_UP, "action": "kill"}]),
    )
    out, err = child.communicate(timeout=DEADLINE)
    rows = {row["run"]: row for row in json.loads(out)["data"]}
    assert child.returncode == ExitCode.RUN_KILLED, err
    assert rows["calm"]["result"] == "succeeded"
    assert rows["calm"]["step"] == 29
    assert (rows["wild"]["result"], rows["wild"]["rule"]) == ("killed", "blow_up")
    assert "killed by rule blow_up at step 6" in err
    assert "6 at step 6" in rows["wild"]["reason"]
    shown = Client(tmp_path / "runs").show("wild")
    assert [alert.action for alert in shown.alerts] == ["kill"]
    latency = shown.latencies[1]
    assert latency.signal is not None
    assert 0 <= latency.verdict <= latency.signal
    assert Client(tmp_path / "runs").controller() is None


def test_a_rollback_without_a_certified_checkpoint_is_refused(submit: Submit) -> None:
    rollback = {**BLOW_UP, "action": "rollback", "set": {"limits.grace": 1}}
    child = submit("--json", wild=_run(WILD, watch=[rollback]))
    out, _ = child.communicate(timeout=DEADLINE)
    (row,) = json.loads(out)["data"]
    assert child.returncode == ExitCode.RUN_KILLED
    assert row["attempt"] == 1
    assert "not rolled back: no certified checkpoint" in row["reason"]


def test_a_warm_start_from_what_is_not_certified_is_refused(submit: Submit) -> None:
    child = submit(
        "--json", first=_run(CALM), second=_run(CALM, start={"warm_from": {"run": "first"}})
    )
    out, _ = child.communicate(timeout=DEADLINE)
    rows = {row["run"]: row for row in json.loads(out)["data"]}
    assert child.returncode == ExitCode.NO_CHECKPOINT
    assert (rows["first"]["result"], rows["second"]["attempt"]) == ("succeeded", 0)
    assert "it wrote no checkpoint" in rows["second"]["reason"]


def test_a_crash_is_a_failure_with_its_code(submit: Submit) -> None:
    child = submit(crash=_run(CRASH))
    out, _ = child.communicate(timeout=DEADLINE)
    assert child.returncode == ExitCode.RUN_FAILED
    assert "bad_exit" in out


def _await(holds: Callable[[], Any]) -> Any:
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_ending_it_leaves_the_trainers_and_starting_it_again_takes_them_over(
    submit: Submit, tmp_path: Path
) -> None:
    client = Client(tmp_path / "runs")
    first = submit(long=_run(LONG))
    trainer = _await(lambda: _trainer(client))
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=DEADLINE)
    assert first.returncode == ExitCode.INTERRUPTED
    assert "trainers that run go on" in err
    assert identity.is_alive(trainer)
    second = submit("--json", long=_run(LONG))
    out, _ = second.communicate(timeout=DEADLINE)
    (row,) = json.loads(out)["data"]
    assert second.returncode == ExitCode.OK
    assert (row["attempt"], row["step"]) == (1, 299)


def _trainer(client: Client) -> Identity | None:
    """The trainer of the one attempt, once the store knows it."""
    with client.reader() as reader:
        known = [a.identity for a in reader.attempts() if a.identity is not None]
    if not known:
        return None
    return identity.from_json(known[0], boot=known[0]["boot_id"], cookie=None)
