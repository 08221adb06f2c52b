"""One suite for the store in memory and for MLflow itself; and what MLflow's errors mean."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from watchers.mlflow_memory import MemoryTarget
from watchers.mlflow_port import (
    Lifecycle,
    MetricRow,
    NewRun,
    NotActive,
    Point,
    Refused,
    Replaced,
    RunStatus,
    Target,
    TrackingProblem,
    Unavailable,
    Unsure,
    kept,
)

pytestmark = pytest.mark.heavy


class Memory:
    """What the suite does beside the port, to the store in memory."""

    def __init__(self) -> None:
        self.target = MemoryTarget()

    def rows(self, run_id: str) -> list[MetricRow]:
        return sorted(self.target.runs[run_id].rows)

    def delete_experiment(self, name: str) -> None:
        self.target.delete_experiment(name)

    def delete_run(self, run_id: str) -> None:
        self.target.runs[run_id].deleted = True

    def of(self, run_id: str) -> dict[str, Any]:
        run = self.target.runs[run_id]
        return {"tags": run.tags, "params": run.params, "status": run.status, "end": run.end_time}


class Real:
    """The same, to MLflow."""

    def __init__(self, path: Path) -> None:
        from watchers.mlflow_target import MlflowTarget

        self.target = MlflowTarget(f"sqlite:///{path}")
        self.client = self.target._client

    def rows(self, run_id: str) -> list[MetricRow]:
        keys = self.client.get_run(run_id).data.metrics
        found = [m for key in keys for m in self.client.get_metric_history(run_id, key)]
        return sorted(
            kept(Point(key=m.key, step=m.step, timestamp=m.timestamp, value=m.value)) for m in found
        )

    def delete_experiment(self, name: str) -> None:
        self.client.delete_experiment(self.client.get_experiment_by_name(name).experiment_id)

    def delete_run(self, run_id: str) -> None:
        self.client.delete_run(run_id)

    def of(self, run_id: str) -> dict[str, Any]:
        run = self.client.get_run(run_id)
        return {
            "tags": run.data.tags,
            "params": run.data.params,
            "status": run.info.status,
            "end": run.info.end_time,
        }


@pytest.fixture(params=["memory", "mlflow"])
def store(request: pytest.FixtureRequest, empty_store: Path, tmp_path: Path) -> Memory | Real:
    if request.param == "memory":
        return Memory()
    return Real(Path(shutil.copy(empty_store, tmp_path / "mlflow.db")))


def new_run(target: Target, key: str = "k" * 64) -> str:
    experiment_id, _ = target.experiment("ep")
    return target.create_run(
        NewRun(
            experiment_id=experiment_id,
            name="redx",
            start_time=5000,
            key=key,
            tags={"campaign.attempt_key": key, "run": "redx"},
        )
    )


def point(step: int, value: float = 1.0, key: str = "val/ce") -> Point:
    return Point(key=key, step=step, timestamp=step * 10, value=value)


# ---------------------------------------------------------------- the port


def test_an_experiment_is_made_once(store: Memory | Real) -> None:
    first, restored = store.target.experiment("ep")
    assert not restored
    assert store.target.experiment("ep") == (first, False)
    assert store.target.experiment("other")[0] != first


def test_a_run_is_found_by_its_key_even_when_it_was_deleted(store: Memory | Real) -> None:
    run_id = new_run(store.target)
    experiment_id, _ = store.target.experiment("ep")
    assert store.target.find_run(experiment_id, "k" * 64) == run_id
    assert store.target.find_run(experiment_id, "l" * 64) is None
    store.delete_run(run_id)
    assert store.target.find_run(experiment_id, "k" * 64) == run_id


def test_the_same_points_twice_are_there_once(store: Memory | Real) -> None:
    run_id = new_run(store.target)
    points = [point(step, step / 3) for step in range(20)]
    points += [point(1, math.nan), point(2, math.inf), point(3, -math.inf), point(4, -0.0)]
    for batch in (points[:10], points, points[5:]):
        store.target.log_points(run_id, batch)
    assert store.rows(run_id) == sorted({kept(p) for p in points})


def test_another_value_at_the_same_step_is_another_point(store: Memory | Real) -> None:
    run_id = new_run(store.target)
    store.target.log_points(run_id, [point(1, 1.0), point(1, 2.0)])
    assert len(store.rows(run_id)) == 2


def test_params_may_be_repeated_but_not_changed_and_the_others_are_kept(
    store: Memory | Real,
) -> None:
    run_id = new_run(store.target)
    params = {f"p{n}": str(n) for n in range(150)}
    store.target.log_params(run_id, params)
    store.target.log_params(run_id, params)
    with pytest.raises(Refused, match="p3"):
        store.target.log_params(run_id, {"p3": "other", "new": "1"})
    assert store.of(run_id)["params"] == {**params, "new": "1"}


def test_tags_are_written_over_one_another(store: Memory | Real) -> None:
    run_id = new_run(store.target)
    store.target.set_tags(run_id, {"result": "failed", **{f"t{n}": "x" for n in range(120)}})
    store.target.set_tags(run_id, {"result": "killed"})
    tags = store.of(run_id)["tags"]
    assert (tags["result"], tags["run"], tags["t119"]) == ("killed", "redx", "x")


def test_the_end_has_a_status_and_a_time_and_may_be_written_again(store: Memory | Real) -> None:
    run_id = new_run(store.target)
    assert store.of(run_id)["status"] == "RUNNING"
    for _ in range(2):
        store.target.end(run_id, RunStatus.KILLED, 9000)
    assert (store.of(run_id)["status"], store.of(run_id)["end"]) == ("KILLED", 9000)


@pytest.mark.parametrize("what", ["points", "params", "tags", "end"])
def test_a_deleted_run_takes_nothing(store: Memory | Real, what: str) -> None:
    run_id = new_run(store.target)
    store.delete_run(run_id)
    target = store.target
    assert target.lifecycle(run_id) is Lifecycle.DELETED
    with pytest.raises(NotActive):
        {
            "points": lambda: target.log_points(run_id, [point(1)]),
            "params": lambda: target.log_params(run_id, {"a": "1"}),
            "tags": lambda: target.set_tags(run_id, {"a": "1"}),
            "end": lambda: target.end(run_id, RunStatus.FAILED, 1),
        }[what]()


def test_a_deleted_experiment_takes_nothing_until_it_is_restored_with_its_runs(
    store: Memory | Real,
) -> None:
    run_id = new_run(store.target)
    store.delete_experiment("ep")
    with pytest.raises(NotActive):
        store.target.log_points(run_id, [point(1)])
    assert store.target.experiment("ep")[1]
    store.target.log_points(run_id, [point(1)])
    assert len(store.rows(run_id)) == 1


def test_no_run_is_made_in_an_experiment_that_was_deleted_meanwhile(store: Memory | Real) -> None:
    experiment_id, _ = store.target.experiment("ep")
    store.delete_experiment("ep")
    new = NewRun(experiment_id=experiment_id, name="a", start_time=1, key="a", tags={})
    with pytest.raises(NotActive):
        store.target.create_run(new)


def test_a_run_that_never_was_is_gone(store: Memory | Real) -> None:
    assert store.target.lifecycle("0" * 32) is Lifecycle.GONE
    with pytest.raises(NotActive):
        store.target.log_points("0" * 32, [point(1)])


# ---------------------------------------------------------------- MLflow alone


@pytest.fixture
def real(empty_store: Path, tmp_path: Path) -> Real:
    return Real(Path(shutil.copy(empty_store, tmp_path / "mlflow.db")))


@pytest.mark.parametrize(
    "bad", [point(1, key="acc@5"), point(1, key="a//b"), point(1, key="x" * 251)]
)
def test_a_batch_with_a_name_that_mlflow_refuses_is_refused_whole(real: Real, bad: Point) -> None:
    run_id = new_run(real.target)
    with pytest.raises(Refused):
        real.target.log_points(run_id, [point(7), bad])
    assert real.rows(run_id) == []


def test_an_experiment_opens_in_the_model_training_view(real: Real) -> None:
    real.target.experiment("ep")
    made = real.client.get_experiment_by_name("ep")
    assert made.tags["mlflow.experimentKind"] == "custom_model_development"
    real.client.set_experiment_tag(made.experiment_id, "mlflow.experimentKind", "finetuning")
    real.target.experiment("ep")
    kept_tag = real.client.get_experiment_by_name("ep").tags["mlflow.experimentKind"]
    assert kept_tag == "finetuning", "what the user chose stays"


def test_the_installed_ui_knows_the_kind_that_is_set() -> None:
    import mlflow

    from watchers.mlflow_target import KIND_TAG, MODEL_TRAINING

    scripts = Path(mlflow.__file__).parent.glob("server/js/build/static/js/*.js")
    texts = [script.read_text(errors="replace") for script in scripts]
    assert any(f'"{MODEL_TRAINING}"' in text for text in texts)
    assert any(KIND_TAG in text for text in texts)


ODD = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1 + 0.2, 1.7976931348623157e308, 3]


def test_points_that_are_there_already_are_not_handed_to_mlflow_again(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = new_run(real.target)
    old = [Point(key="odd", step=n, timestamp=n, value=value) for n, value in enumerate(ODD)]
    real.target.log_points(run_id, old)
    before, handed = real.rows(run_id), list[Any]()
    log_batch = real.client.log_batch
    monkeypatch.setattr(
        real.client, "log_batch", lambda run, **content: handed.extend(content["metrics"])
    )
    new = [Point(key="odd", step=0, timestamp=0, value=1.0), point(99)]
    real.target.log_points(run_id, [old[0], new[0], *old[1:], new[1]])
    assert [(m.key, m.step, m.value) for m in handed] == [(p.key, p.step, p.value) for p in new]
    monkeypatch.setattr(real.client, "log_batch", log_batch)
    real.target.log_points(run_id, old)
    assert real.rows(run_id) == before


def test_a_deleted_run_says_no_though_it_has_all_the_points(real: Real) -> None:
    run_id = new_run(real.target)
    real.target.log_points(run_id, [point(1), point(2)])
    real.delete_run(run_id)
    with pytest.raises(NotActive):
        real.target.log_points(run_id, [point(1), point(2)])


def test_artifacts_are_copied_beside_the_store(real: Real, tmp_path: Path) -> None:
    run_id = new_run(real.target)
    (tmp_path / "spec.json").write_text("{}")
    real.target.log_artifact(run_id, tmp_path / "spec.json")
    copied = tmp_path / "mlflow-artifacts" / "ep" / run_id / "artifacts" / "spec.json"
    assert copied.read_text() == "{}"


def test_a_locked_database_is_an_outage_not_a_refusal(
    real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy

    text = sqlalchemy.text  # mlflow waits 20 s for a lock; here it waits 50 ms
    impatient = lambda sql: text(sql.replace("20000", "50"))  # noqa: E731
    run_id = new_run(real.target)
    monkeypatch.setattr("mlflow.store.db.utils.sql.text", impatient)
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked"):
            real.target.log_points(run_id, [point(1)])
        other.execute("ROLLBACK")
    real.target.log_points(run_id, [point(1)])


def test_a_store_that_was_removed_or_replaced_is_noticed(real: Real, tmp_path: Path) -> None:
    real.target.confirm()
    path = tmp_path / "mlflow.db"
    path.rename(tmp_path / "away.db")
    with pytest.raises(Replaced):
        real.target.confirm()
    path.write_bytes(b"")
    with pytest.raises(Replaced):
        real.target.confirm()


def test_another_store_has_another_id_and_the_same_one_keeps_it(tmp_path: Path) -> None:
    from watchers.mlflow_target import open_sqlite

    first = open_sqlite(tmp_path / "a.db")
    assert open_sqlite(tmp_path / "a.db") == first
    assert open_sqlite(tmp_path / "b.db") != first


# ---------------------------------------------------------------- over HTTP


class Answering(BaseHTTPRequestHandler):
    """A tracking server that always answers the same."""

    status = 500
    body: bytes = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST

    def log_message(self, *arguments: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[tuple[str, type[Answering]]]:
    handler = type("Handler", (Answering,), {})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", handler
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def error(code: str) -> bytes:
    return json.dumps({"error_code": code, "message": "told"}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b"oops", Unsure),
        (500, error("INTERNAL_ERROR"), Unsure),
        (501, b"", Unsure),
        (502, b"<html>bad gateway</html>", Unavailable),
        (503, b"", Unavailable),
        (504, b"", Unavailable),
        (429, b"slow down", Unavailable),
        (503, error("TEMPORARILY_UNAVAILABLE"), Unavailable),
        (401, b"who are you", Unavailable),
        (403, error("PERMISSION_DENIED"), Unavailable),
        (404, b"no such page", Unavailable),
    ],
)
def test_what_a_servers_answer_means(
    server: tuple[str, type[Answering]],
    status: int,
    body: bytes,
    expected: type[TrackingProblem],
) -> None:
    from watchers.mlflow_target import MlflowTarget

    uri, handler = server
    handler.status, handler.body = status, body
    with pytest.raises(TrackingProblem) as raised:
        MlflowTarget(uri).log_points("0" * 32, [point(1)])
    assert type(raised.value) is expected


def test_a_server_that_is_not_there_is_an_outage() -> None:
    from watchers.mlflow_target import MlflowTarget

    with pytest.raises(Unavailable):
        MlflowTarget("http://127.0.0.1:9").log_points("0" * 32, [point(1)])
