"""MLflow itself behind the port `watchers.mlflow_port.Target`.

What MLflow makes of a value: +inf and -inf become the largest and the lowest double (1.797e308), NaN stays
NaN. Two points of a run are one if key, step, timestamp and value are the same.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from watchers.mlflow_describe import KEY_TAG
from watchers.mlflow_known import KnownPoints
from watchers.mlflow_port import (
    Lifecycle,
    NewRun,
    NotActive,
    Point,
    Refused,
    Replaced,
    RunStatus,
    TrackingProblem,
    Unavailable,
    Unsure,
)
from watchers.mlflow_uri import locked, quiet, sqlite_path

quiet()  # before mlflow is imported, which is why these imports stand here

from mlflow.entities import Metric, Param, RunTag, ViewType  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

KIND_TAG = "mlflow.experimentKind"
MODEL_TRAINING = "custom_model_development"
"""The kind that opens an experiment in the model-training view (ExperimentKind of MLflow 3.17's UI)."""

ARTIFACTS = "mlflow-artifacts"
STORE_LOCK = "mlflow.lock"
_PARAMS_AT_ONCE = 100

_REFUSED = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"})
_UNSURE = frozenset({"INTERNAL_ERROR", "INVALID_STATE", "DATA_LOSS", "NOT_IMPLEMENTED"})
_STATUS_500 = "too many 500 error responses"
_MISSING = "RESOURCE_DOES_NOT_EXIST"


def open_sqlite(path: Path) -> int:
    """Make the store in ``path`` ready for a writer beside readers. Its id: another file, another id.

    Under a lock, because MLflow's own making of tables does not bear company.
    """
    with locked(path.with_name(STORE_LOCK)):
        with closing(sqlite3.connect(path, timeout=30.0)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            store_id = int(db.execute("PRAGMA user_version").fetchone()[0])
            if store_id == 0:  # mlflow leaves this field of the file header alone
                store_id = secrets.randbelow(2**31 - 1) + 1
                db.execute(f"PRAGMA user_version={store_id}")
        path.chmod(0o600)
        make_tables: Any = SqlAlchemyStore  # mlflow says nothing about its types
        make_tables(f"sqlite:///{path}", str(path.parent / ARTIFACTS))
    return store_id


class MlflowTarget:
    """A tracking store by its URI, which `check_uri` has accepted. Raises TrackingProblem.

    ``store_id``: of an SQLite store; None where there is no telling one store from another.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        # mlflow would write every failed statement to stderr, at each retry of an outage
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._database = sqlite_path(uri)
        with _translated():
            self.store_id = None if self._database is None else open_sqlite(self._database)
            self._client = MlflowClient(tracking_uri=uri)
        self._file = None if self._database is None else self._database.stat().st_ino
        self._known = None if self._database is None else KnownPoints(self._database)

    @property
    def uri(self) -> str:
        return self._uri

    def confirm(self) -> None:
        """SQLite goes on writing into a file that was deleted, and nobody would ever see it."""
        if self._database is None:
            return
        try:
            same = self._database.stat().st_ino == self._file
        except FileNotFoundError:
            same = False
        if not same:
            raise Replaced(f"{self._database} was removed or replaced")

    # ------------------------------------------------------------ experiments and runs

    def experiment(self, name: str) -> tuple[str, bool]:
        with _translated():
            found = self._client.get_experiment_by_name(name)
            if found is None:
                return self._create_experiment(name), False
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
                return str(found.experiment_id), True
            if KIND_TAG not in found.tags:
                self._client.set_experiment_tag(found.experiment_id, KIND_TAG, MODEL_TRAINING)
            return str(found.experiment_id), False

    def _create_experiment(self, name: str) -> str:
        location = None
        if self._database is not None:
            location = str(self._database.parent / ARTIFACTS / quote(name, safe=""))
        return str(self._client.create_experiment(name, location, {KIND_TAG: MODEL_TRAINING}))

    def find_run(self, experiment_id: str, key: str) -> str | None:
        with _translated():
            found = self._client.search_runs(
                [experiment_id],
                f"tags.`{KEY_TAG}` = '{key}'",
                run_view_type=ViewType.ALL,
                max_results=1,
            )
        return str(found[0].info.run_id) if found else None

    def create_run(self, run: NewRun) -> str:
        with _translated(lambda: self._experiment_is_active(run.experiment_id)):
            made = self._client.create_run(
                run.experiment_id, run.start_time, dict(run.tags), run.name
            )
        return str(made.info.run_id)

    def lifecycle(self, run_id: str) -> Lifecycle:
        try:
            with _translated():
                stage = self._client.get_run(run_id).info.lifecycle_stage
        except NotActive:
            return Lifecycle.GONE
        return Lifecycle.ACTIVE if stage == "active" else Lifecycle.DELETED

    # ------------------------------------------------------------ content

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        with self._on(run_id):
            if self._known is not None:
                # one of the known is sent all the same: MLflow has to say that the run is active
                points = self._known.without(run_id, points) or points[-1:]
            metrics = [Metric(p.key, p.value, p.timestamp, p.step) for p in points]
            self._client.log_batch(run_id, metrics=metrics)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Raises Refused naming what was refused, after the others were written."""
        refused = []
        for chunk in _chunks([Param(key, value) for key, value in params.items()], _PARAMS_AT_ONCE):
            try:
                self._log_params(run_id, chunk)
            except Refused:
                refused += self._one_by_one(run_id, chunk)
        if refused:
            raise Refused("; ".join(refused))

    def _log_params(self, run_id: str, params: Sequence[Param]) -> None:
        with self._on(run_id):
            self._client.log_batch(run_id, params=params)

    def _one_by_one(self, run_id: str, params: Sequence[Param]) -> list[str]:
        refused = []
        for param in params:
            try:
                self._log_params(run_id, [param])
            except Refused as error:
                refused.append(f"{param.key}: {error}")
        return refused

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        for chunk in _chunks([RunTag(key, value) for key, value in tags.items()], _PARAMS_AT_ONCE):
            with self._on(run_id):
                self._client.log_batch(run_id, tags=chunk)

    def log_artifact(self, run_id: str, path: Path) -> None:
        try:
            with self._on(run_id):
                self._client.log_artifact(run_id, str(path))
        except (TrackingProblem, OSError):
            raise
        except Exception as error:  # whatever the library of an artifact store raises
            raise Refused(f"{type(error).__name__}: {error}") from error

    def end(self, run_id: str, status: RunStatus, end_time: int | None) -> None:
        with self._on(run_id):
            self._client.set_terminated(run_id, status.value, end_time)

    # ------------------------------------------------------------ what an error means

    @contextmanager
    def _on(self, run_id: str) -> Iterator[None]:
        with _translated(lambda: self.lifecycle(run_id) is Lifecycle.ACTIVE):
            yield

    def _experiment_is_active(self, experiment_id: str) -> bool:
        with _translated():
            return bool(self._client.get_experiment(experiment_id).lifecycle_stage == "active")


@contextmanager
def _translated(is_active: Any = lambda: True) -> Iterator[None]:
    """MLflow's errors in our words. ``is_active`` is asked when something was refused."""
    try:
        yield
    except MlflowException as error:
        raise _problem(error, is_active) from error
    except sqlite3.OperationalError as error:
        raise Unavailable(str(error)) from error


def _problem(error: MlflowException, is_active: Any) -> TrackingProblem:
    cause = error.__cause__ or error.__context__
    told = getattr(cause, "orig", None) or error.message  # what the database itself said
    why = str(told).strip().partition("\n")[0]
    if isinstance(cause, OSError):  # of the requests library: the connection, not the content
        return Unsure(why) if _STATUS_500 in str(cause) else Unavailable(why)
    if error.error_code == _MISSING:
        return NotActive(why)
    if error.error_code in _REFUSED:
        return Refused(why) if is_active() else NotActive(why)
    return Unsure(why) if error.error_code in _UNSURE else Unavailable(why)


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
