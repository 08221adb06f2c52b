"""What MLflow holds of a campaign, and how that differs from the files it comes from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from watchers.mlflow_attempts import LEDGER, Found, directories, left_by, load
from watchers.mlflow_cursor import Ledger
from watchers.mlflow_describe import KEY_TAG
from watchers.mlflow_lineage import AttemptId, Described, ended, sources
from watchers.mlflow_port import MetricRow, Point, RunStatus, kept, points_of
from watchers.mlflow_uri import check_uri, default_uri, quiet
from watchers.tail import Tail

quiet()  # before mlflow is imported, which is why these imports stand here

from mlflow.entities import Run, ViewType  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """An MLflow run. ``rows``: its points as MLflow keeps them, and how often each is there."""

    run_id: str
    name: str
    status: str
    lifecycle: str
    start_time: int
    end_time: int | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    rows: Mapping[MetricRow, int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """``kind``: no run, two runs, missing, extra, doubled, refused, status."""

    attempt: AttemptId
    kind: str
    detail: str

    def __str__(self) -> str:
        campaign, run, number = self.attempt
        return f"{campaign}/{run}/attempt-{number}: {self.kind}: {self.detail}"


def read_runs(tracking_uri: str, campaign: str) -> list[PublishedRun]:
    """The runs of a campaign's experiment, the oldest first; deleted ones too."""
    client = MlflowClient(tracking_uri=check_uri(tracking_uri))
    experiment = client.get_experiment_by_name(campaign)
    if experiment is None:
        return []
    return [_published(client, run) for run in _all_runs(client, experiment.experiment_id)]


def _all_runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            run_view_type=ViewType.ALL,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _published(client: MlflowClient, run: Run) -> PublishedRun:
    rows: Counter[MetricRow] = Counter()
    for key in run.data.metrics:
        for m in client.get_metric_history(run.info.run_id, key):
            rows[kept(Point(key=m.key, step=m.step, timestamp=m.timestamp, value=m.value))] += 1
    return PublishedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        lifecycle=run.info.lifecycle_stage,
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        rows=rows,
    )


# ---------------------------------------------------------------- against the files


def compare(home: Path, campaign: str, tracking_uri: str | None = None) -> list[Difference]:
    """Point by point: how MLflow differs from what the attempts of a campaign left on the disk.

    Empty if each run holds its ancestors' points up to where each was left and its own, each once, and has
    the status that the attempt's records say. Points that MLflow refused are differences, too.
    """
    uri = check_uri(tracking_uri or default_uri(home))
    families: dict[str, dict[int, Found]] = defaultdict(dict)
    for attempt in map(load, directories(home)):
        if attempt.described.campaign == campaign:
            families[attempt.described.run][attempt.described.attempt] = attempt
    by_key: dict[str, list[PublishedRun]] = defaultdict(list)
    for run in read_runs(uri, campaign):
        by_key[run.tags.get(KEY_TAG, "")].append(run)
    ledger = Ledger.open_to_read(home / LEDGER)
    found: list[Difference] = []
    for family in families.values():
        for number in sorted(family):
            one = family[number].described
            found += _differences(family, number, by_key[one.key], _refused(ledger, uri, one))
    if ledger is not None:
        ledger.close()
    return found


def _refused(ledger: Ledger | None, uri: str, one: Described) -> set[MetricRow]:
    if ledger is None:
        return set()
    return {
        kept(Point(key=key, step=step, timestamp=timestamp, value=value))
        for key, step, timestamp, value, _ in ledger.refused(uri, one.key)
    }


def _differences(
    family: Mapping[int, Found],
    number: int,
    runs: list[PublishedRun],
    refused: set[MetricRow],
) -> Iterator[Difference]:
    attempt = family[number]
    who = attempt.described.id
    if len(runs) != 1:
        kind = "two runs" if runs else "no run"
        yield Difference(attempt=who, kind=kind, detail=", ".join(run.run_id for run in runs))
        return
    run, expected = runs[0], set(_expected(family, number))
    for row in sorted(expected - run.rows.keys()):
        kind = "refused" if row in refused else "missing"
        yield Difference(attempt=who, kind=kind, detail=_show(row))
    for row in sorted(run.rows.keys() - expected):
        yield Difference(attempt=who, kind="extra", detail=_show(row))
    for row, times in run.rows.items():
        if times > 1:
            yield Difference(attempt=who, kind="doubled", detail=f"{times} times {_show(row)}")
    left = ended(left_by(attempt, min((n for n in family if n > number), default=None)))
    status = RunStatus.RUNNING if left is None else left.status
    if run.status != status:
        yield Difference(attempt=who, kind="status", detail=f"{run.status}, not {status}")


def _expected(family: Mapping[int, Found], number: int) -> Iterator[MetricRow]:
    known = {n: found.described for n, found in family.items()}
    for source in sources(number, known):
        tail = Tail(family[source.attempt].files.metrics)
        more = True
        while more:
            batch = tail.read()
            more = batch.more
            for line in batch.lines:
                if source.holds(line.step):
                    yield from map(kept, points_of(line))


def _show(row: MetricRow) -> str:
    key, step, timestamp, value, is_nan = row
    return f"{key} = {'NaN' if is_nan else value} of step {step} at {timestamp} ms"
