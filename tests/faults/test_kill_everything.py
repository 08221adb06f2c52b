"""Whatever of ours is killed, trainers go on, nothing submitted is lost, nothing runs twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from campaign.hosts import identity
from tests.faults.plane import Plane, await_that, kill, plane, script

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(280)]

UNTIL_TOLD = """
import json, os, sys, time
step = 0
while not os.path.exists(sys.argv[1]):
    step += 1
    with open(os.environ["CAMPAIGN_METRICS"], "a") as out:
        out.write(json.dumps({"t": time.time(), "step": step, "m": {"loss": 1.0 / step}}) + "\\n")
    time.sleep(0.05)
"""


def campaign(where: Path, runs: int, stop: Path) -> Path:
    """Runs that train until a file appears."""
    program = script(where, "trains.py", UNTIL_TOLD)
    argv = json.dumps([sys.executable, program, str(stop)])
    runs_text = "".join(
        f"  r{i}: {{trainer: {{argv: {argv}}}, retry: {{from_scratch: true}}}}\n"
        for i in range(runs)
    )
    path = where / "chaos.yaml"
    path.write_text(
        "campaign: chaos\n"
        "defaults: {trainer: {kind: command, metrics: {declared: [loss]}}}\n"
        f"runs:\n{runs_text}"
    )
    return path


def begin(made: Plane, where: Path, stop: Path, runs: int = 3) -> dict[str, identity.Identity]:
    """Submit; the trainers that got a device, once they write metrics."""
    made.client.submit(campaign(where, runs, stop))
    return await_that("two trainers run and write", lambda: _trainers(made, runs))  # type: ignore[no-any-return]


def _trainers(made: Plane, runs: int) -> dict[str, identity.Identity] | None:
    found = {
        f"r{i}": trainer
        for i in range(runs)
        if made.files("chaos", f"r{i}").metrics.exists()
        and (trainer := made.trainer("chaos", f"r{i}")) is not None
    }
    return found if len(found) >= min(runs, 2) else None


def all_succeeded(made: Plane) -> bool:
    return all(row.result == "succeeded" for row in made.client.runs("chaos"))


def test_controller_ray_watcher_and_publisher_die_and_every_run_still_succeeds(
    tmp_path: Path,
) -> None:
    stop = tmp_path / "stop"
    with plane(tmp_path / "home") as made:
        trainers = begin(made, tmp_path, stop)
        await_that("the publisher is up", made.publisher)
        kill(made.controller(), *made.ray(), made.publisher())
        assert all(identity.is_alive(t) for t in trainers.values()), "no trainer may die with us"
        before = {name: _lines(made, name) for name in trainers}
        made.client.up()
        await_that("Ray is up again", made.ray)
        await_that("metrics go on", lambda: all(_lines(made, n) > before[n] for n in trainers))
        after = {name: made.trainer("chaos", name) for name in trainers}
        assert after == trainers, "the same pids and start ticks"
        stop.touch()
        await_that("every run is done", lambda: all_succeeded(made))
        assert {row.run: row.attempt for row in made.client.runs("chaos")} == dict.fromkeys(
            ("r0", "r1", "r2"), 1
        )


@pytest.mark.parametrize("victim", ["controller", "supervisor", "watcher", "raylet", "gcs_server"])
def test_one_part_dies_and_the_plane_mends_itself(tmp_path: Path, victim: str) -> None:
    stop = tmp_path / "stop"
    with plane(tmp_path / "home") as made:
        trainers = begin(made, tmp_path, stop)
        if victim == "controller":
            kill(made.controller())
            made.client.up()
        else:
            kill(
                made.actor(
                    {"supervisor": "ray::Supervisor", "watcher": "ray::Watcher"}.get(victim, victim)
                )
            )
        stop.touch()
        await_that("every run is done", lambda: all_succeeded(made))
        attempts = {row.run: row.attempt for row in made.client.runs("chaos")}
        assert {name: attempts[name] for name in trainers} == dict.fromkeys(trainers, 1)


def test_a_killed_shim_takes_its_trainer_along_and_the_run_is_tried_again(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    with plane(tmp_path / "home") as made:
        made.client.submit(campaign(tmp_path, 1, stop))
        trainers = await_that("the trainer runs", lambda: _trainers(made, 1))
        record = json.loads(made.files("chaos", "r0").pid.read_text())
        kill(identity.from_json(record["shim"], boot=record["boot_id"], cookie=None))
        await_that("nothing of it is left", lambda: not identity.is_alive(trainers["r0"]))
        await_that("it runs again", lambda: made.trainer("chaos", "r0", 2))
        stop.touch()
        await_that("it is done", lambda: all_succeeded(made))
        assert made.run("r0").attempt == 2


def _lines(made: Plane, run: str) -> int:
    return made.files("chaos", run).metrics.read_bytes().count(b"\n")
