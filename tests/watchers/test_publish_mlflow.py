"""The publisher as a process, over MLflow itself: killed, told to end, kept from being two."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.watchers.mlflow_homes import CAMPAIGN, FakeHome, resume
from watchers.mlflow_attempts import lag
from watchers.mlflow_uri import BadUri, check_uri, default_uri
from watchers.publish_mlflow import AnotherRuns, Publisher, publish_directory, publish_home

DEADLINE = 120.0


@pytest.fixture
def home(empty_store: Path, tmp_path: Path) -> FakeHome:
    root = tmp_path / "home"
    root.mkdir()
    shutil.copy(empty_store, root / "mlflow.db")
    return FakeHome(root)


@pytest.fixture
def start(home: FakeHome) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts publishers of the home; none is left afterwards."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(*options: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-P", "-m", "watchers.publish_mlflow", "--home", str(home.root)]
        process = subprocess.Popen([*argv, *options], stderr=subprocess.PIPE)
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {DEADLINE} s"
        time.sleep(0.02)


def wait_for_rows(home: FakeHome, number: int) -> None:
    wait_for(lambda: rows_in(home) >= number, f"point {number}")


def log_of(home: FakeHome) -> str:
    path = home.root / "publisher.log"
    return path.read_text() if path.exists() else ""


def differences(home: FakeHome) -> list[str]:
    from watchers.mlflow_read import compare

    return [str(difference) for difference in compare(home.root, CAMPAIGN)]


def rows_in(home: FakeHome) -> int:
    with contextlib.closing(sqlite3.connect(home.root / "mlflow.db")) as db:
        return int(db.execute("SELECT count(*) FROM metrics").fetchone()[0])


def fill(home: FakeHome, steps: int) -> None:
    """Three runs, one of them rolled back."""
    for run in ("redx", "bptt_twin"):
        attempt = home.attempt(run=run)
        attempt.curve(range(1, steps))
        attempt.leave()
    first = home.attempt(run="ep_plain_warm")
    first.curve(range(1, steps))
    first.log(steps, {"val/ce": float("nan"), "acc@5": float("inf")})
    order = {"by": "watcher", "rule": "blow_up", "reason": "above its best"}
    first.leave(exit_code=None, signal=15, order=order)
    second = home.attempt(2, resume(1, steps // 2), run="ep_plain_warm")
    second.curve(range(steps // 2 + 1, steps))
    second.leave()


# ---------------------------------------------------------------- real processes


@pytest.mark.heavy
def test_killed_in_the_middle_again_and_again_it_publishes_every_point_once(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    fill(home, 900)
    total = 2 * (3 * 899 + 449 + 450) + 2
    chance = random.Random(7)
    kills = 0
    while (before := rows_in(home)) < total and kills < 40:
        process = start()
        wait_for_rows(home, min(total, before + chance.randrange(1, 1100)))
        process.kill()
        process.wait()
        kills += 1
    assert kills >= 3
    assert start("--once").wait(DEADLINE) == 0
    assert differences(home) == []
    assert set(lag(home.root).values()) == {0}


@pytest.mark.heavy
def test_told_to_end_it_publishes_what_there_is_and_leaves(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    attempt = home.attempt()
    attempt.curve([1])
    process = start()
    wait_for(lambda: rows_in(home) == 2, "the first point")
    attempt.curve(range(2, 5000))
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert differences(home) == []


@pytest.mark.heavy
def test_a_second_publisher_of_a_home_is_refused_and_names_the_first(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    first = start()
    wait_for(lambda: f"publisher {first.pid} publishes" in log_of(home), "the start")
    second = start("--once")
    _, said = second.communicate(timeout=DEADLINE)
    assert second.returncode == 5
    assert f"publisher {first.pid} of {home.root} is running" in said.decode()
    assert first.poll() is None


@pytest.mark.heavy
def test_the_lock_of_a_killed_publisher_does_not_keep_the_next_one_out(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    first = start()
    wait_for(lambda: "publishes to" in log_of(home), "the start")
    first.kill()
    first.wait()
    assert start("--once").wait(DEADLINE) == 0


@pytest.mark.heavy
def test_a_store_that_is_removed_under_it_is_filled_anew(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    fill(home, 50)
    process = start()
    wait_for(lambda: set(lag(home.root).values()) == {0}, "all being published")
    for path in home.root.glob("mlflow.db*"):
        path.unlink()
    assert process.wait(DEADLINE) == 7
    assert start("--once").wait(DEADLINE) == 0
    assert differences(home) == []
    assert "is another store than before" in log_of(home)


@pytest.mark.heavy
def test_it_does_not_outlive_its_home(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = start()
    wait_for(lambda: "publishes to" in log_of(home), "the start")
    shutil.rmtree(home.root)
    process.wait(DEADLINE)


@pytest.mark.heavy
def test_an_experiment_that_a_user_deleted_is_restored_and_completed(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    from mlflow import MlflowClient

    attempt = home.attempt()
    attempt.curve(range(1, 10))
    assert start("--once").wait(DEADLINE) == 0
    client = MlflowClient(tracking_uri=default_uri(home.root))
    client.delete_experiment(client.get_experiment_by_name(CAMPAIGN).experiment_id)
    attempt.curve(range(10, 20))
    attempt.leave()
    assert start("--once").wait(DEADLINE) == 0
    assert client.get_experiment_by_name(CAMPAIGN).lifecycle_stage == "active"
    assert differences(home) == []


@pytest.mark.heavy
def test_while_the_database_is_locked_it_waits_and_then_goes_on(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    fill(home, 300)
    process = start()
    wait_for(lambda: rows_in(home) > 0, "the first point")
    with contextlib.closing(sqlite3.connect(home.root / "mlflow.db", isolation_level=None)) as db:
        db.execute("PRAGMA busy_timeout=30000")
        db.execute("BEGIN IMMEDIATE")
        assert process.poll() is None
        db.execute("ROLLBACK")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert differences(home) == []


@pytest.mark.heavy
def test_differences_are_named_point_by_point(
    home: FakeHome, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    attempt = home.attempt()
    attempt.curve(range(1, 5))
    missing = home.attempt(run="never")
    assert start("--once").wait(DEADLINE) == 0
    shutil.rmtree(missing.root)
    home.attempt(run="late")
    attempt.curve([5])
    attempt.leave()
    with contextlib.closing(sqlite3.connect(home.root / "mlflow.db")) as db:
        db.execute("UPDATE metrics SET value=9.5 WHERE key='val/ce' AND step=2")
        db.commit()
    kinds = [line.split(": ")[1] for line in differences(home)]
    assert sorted(kinds) == ["extra", "missing", "missing", "missing", "no run", "status"]


# ---------------------------------------------------------------- attempts that ran elsewhere


@pytest.mark.heavy
def test_a_copy_is_published_into_the_home_and_a_later_copy_adds_what_is_new(
    home: FakeHome, tmp_path: Path
) -> None:
    away = FakeHome(tmp_path / "away")
    attempt = away.attempt()
    attempt.curve(range(1, 10))
    first = publish_directory(away.root, home=home.root)
    assert (first.points, first.left) == (18, {})
    attempt.curve(range(10, 15))
    attempt.leave()
    shutil.copytree(away.root / CAMPAIGN, tmp_path / "again")
    assert publish_directory(tmp_path / "again" / "redx", home=home.root).points == 10
    assert publish_directory(tmp_path / "again" / "redx", home=home.root).points == 0
    shutil.copytree(tmp_path / "again", home.root / CAMPAIGN)
    assert differences(home) == []


@pytest.mark.heavy
def test_a_copy_can_be_published_in_another_experiment_and_says_whose_it_is(
    home: FakeHome, tmp_path: Path
) -> None:
    from watchers.mlflow_read import read_runs

    away = FakeHome(tmp_path / "away")
    away.attempt().curve([1])
    publish_directory(away.root, home=home.root, campaign="from_hostb")
    (run,) = read_runs(default_uri(home.root), "from_hostb")
    assert (run.name, len(run.rows), run.tags["campaign"]) == (f"{CAMPAIGN}/redx", 2, CAMPAIGN)


def test_a_directory_without_attempts_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no attempt: give a home"):
        publish_directory(tmp_path, home=tmp_path)


# ---------------------------------------------------------------- the loop, without MLflow


class Script:
    """A mirror that does what it is told, round by round: an exception, or whether there is more."""

    def __init__(self, *rounds: Exception | bool) -> None:
        self.rounds = list(rounds)
        self.done = 0
        self.published = 0
        self.paused: dict[Path, str] = {}

    def advance(self, attempts: Any) -> bool:
        self.done += 1
        step = self.rounds.pop(0) if self.rounds else False
        if isinstance(step, Exception):
            raise step
        self.published += step
        return step


def publisher(mirror: Script, said: list[str], clock: Callable[[], float]) -> Publisher:
    made = Publisher(
        find=lambda: iter(()),
        open_mirror=lambda: mirror,  # type: ignore[arg-type,return-value]
        say=said.append,
        clock=clock,
    )
    made.stopping = Pretending()
    return made


class Pretending(threading.Event):
    """Waiting takes no time; what was waited is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        return self.is_set()


def test_an_outage_is_said_once_waited_for_ever_longer_and_its_end_is_said() -> None:
    from watchers.mlflow_port import Unavailable

    said: list[str] = []
    mirror = Script(*[Unavailable("connection refused")] * 8, True)
    made = publisher(mirror, said, lambda: 0.0)
    made.run_once(patience=100.0)
    assert made.stopping.waited == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]  # type: ignore[attr-defined]
    assert said == [
        "MLflow cannot be reached, points wait in metrics.jsonl: connection refused",
        "MLflow is back after 0 s",
    ]


def test_once_gives_up_on_an_outage_after_its_patience_and_says_what_is_left() -> None:
    from watchers.mlflow_port import Unavailable

    clock = iter(range(1000))
    mirror = Script(*[Unavailable("down")] * 100)
    done = publisher(mirror, [], lambda: float(next(clock))).run_once(patience=20.0)
    assert done.left == {"MLflow": "down"}
    assert mirror.done < 100


def test_our_own_full_disk_is_waited_for_like_an_outage() -> None:
    mirror = Script(sqlite3.OperationalError("database or disk is full"), True)
    assert publisher(mirror, [], lambda: 0.0).run_once(patience=9.0).points == 1


def test_told_to_end_it_does_one_more_pass_over_what_there_is() -> None:
    mirror = Script(True, True, False, True, True)
    made = publisher(mirror, [], lambda: 0.0)
    made.stopping.wait = lambda timeout=None: made.stopping.set() or mirror.done >= 3  # type: ignore[method-assign,func-returns-value]
    assert made.run().points == 4
    assert mirror.rounds == []


@pytest.mark.parametrize(("idle", "rounds"), [(0.0, 4), (3.0, 7)])
def test_a_publisher_that_nobody_needs_ends_by_itself(idle: float, rounds: int) -> None:
    said: list[str] = []
    mirror = Script(True, True, True)
    made = publisher(mirror, said, lambda: float(mirror.done))  # a round takes a second
    made._forsaken = lambda since: "its starter is dead" if since >= idle else None
    made.run()
    assert (mirror.published, mirror.done) == (3, rounds)
    assert said == ["nobody needs this publisher any more: its starter is dead"]


def test_told_to_end_during_an_outage_it_leaves_at_once() -> None:
    from watchers.mlflow_port import Unavailable

    mirror = Script(*[Unavailable("down")] * 9)
    made = publisher(mirror, [], lambda: 0.0)
    made.stopping.wait = lambda timeout=None: mirror.done >= 2  # type: ignore[method-assign]
    made.run()
    assert mirror.done == 2


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////srv/mlflow.db", "https://mlflow.example", "http://127.0.0.1:5000",
        "http://localhost:5000/", "http://[::1]:5000",
    ],
)  # fmt: skip
def test_stores_that_are_safe_to_publish_to_are_taken(uri: str) -> None:
    assert check_uri(uri) == uri.rstrip("/")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://mlflow.example", "https"),
        ("http://10.0.0.7:5000", "https"),
        ("http://127.0.0.1.evil.example", "https"),
        ("https://me:secret@mlflow.example", "MLFLOW_TRACKING_USERNAME"),
        ("sqlite:///relative.db", "absolute"),
        ("file:///srv/mlruns", "sqlite:////"),
        ("postgresql://db/mlflow", "sqlite:////"),
        ("databricks", "sqlite:////"),
    ],
)
def test_other_stores_are_refused_with_what_to_give(uri: str, message: str) -> None:
    with pytest.raises(BadUri, match=message):
        check_uri(uri)


def test_no_secret_of_a_refused_uri_is_repeated() -> None:
    with pytest.raises(BadUri) as raised:
        check_uri("https://me:secret@mlflow.example")
    assert "secret" not in str(raised.value)


def test_a_home_whose_publisher_runs_takes_no_other(tmp_path: Path) -> None:
    from watchers.mlflow_uri import locked

    FakeHome(tmp_path).attempt()
    with locked(tmp_path / "publisher.lock"):
        for publish in (
            lambda: publish_home(tmp_path, once=True),
            lambda: publish_directory(tmp_path / CAMPAIGN, home=tmp_path),
        ):
            with pytest.raises(AnotherRuns, match="is running and publishes already"):
                publish()


def test_importing_the_publisher_and_asking_for_the_lag_loads_no_mlflow() -> None:
    program = "import sys, watchers.publish_mlflow, watchers.mlflow_attempts, watchers.ui_mlflow\n"
    program += "print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert not {"mlflow", "torch", "ray", "numpy", "pydantic"} & set(run.stdout.split())
