"""One attempt -> its run in a tracking store. No mlflow here.

Every step may be cut anywhere and done again: the store first, then the ledger. A run is made under a key
that is searched for before it is made; points carry their own times; params and tags repeat themselves; the
end is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from specs.files import MetricLine
from watchers.mlflow_attempts import Found, last_time, left_by, start_time, started_facts
from watchers.mlflow_cursor import Entry, Ledger
from watchers.mlflow_describe import (
    KEY_TAG,
    PARENT_TAG,
    end_tags,
    fact_params,
    fact_tags,
    params_of,
    start_tags,
)
from watchers.mlflow_lineage import Described, Ended, Source, ended, sources, unknown_ancestor
from watchers.mlflow_names import long_name_tags
from watchers.mlflow_port import NewRun, NotActive, Point, Refused, Target, points_of
from watchers.mlflow_send import Rejected, send
from watchers.mlflow_source import read_points
from watchers.tail import START

Family = Mapping[int, Found]
"""The attempts of one run, by number."""

Say = Callable[[str], None]
Alone = Callable[[], AbstractContextManager[object]]


@dataclass(kw_only=True)
class RunWriter:
    """``experiment``: everything goes into this one; None: the campaign's name.

    ``alone``: entered while a run is looked for and made, so that no other process makes it as well;
    ``published``: points that the store accepted, replayed ones too.
    """

    target: Target
    ledger: Ledger
    say: Say
    alone: Alone
    experiment: str | None = None
    published: int = 0

    def advance(self, attempt: Found, family: Family, *, suspect: bool) -> tuple[bool, bool]:
        """A piece of what is not published yet: whether there was any, and whether all is done for good.

        ``suspect``: it failed often in a way that tells nothing, so its points are doubted now.
        Raises TrackingProblem and OSError.
        """
        entry = self._entry(attempt, family)
        later = min((n for n in family if n > attempt.described.attempt), default=None)
        left = ended(left_by(attempt, later))  # before reading: what it wrote until then is read
        if self._publish_some(attempt, family, entry, suspect=suspect):
            return True, False
        if left is not None and not entry.settled:
            self._finish(attempt, entry, left)
        return False, left is not None

    def open_experiment(self, attempt: Found) -> tuple[str, bool]:
        """The id of the experiment that the attempt belongs to, and whether it had to be restored."""
        name = self.experiment or attempt.described.campaign
        experiment_id, restored = self.target.experiment(name)
        if restored:
            self.say(
                f"experiment {name} had been deleted in MLflow; it is restored with its runs,"
                " because there are points to publish"
            )
        return experiment_id, restored

    # ------------------------------------------------------------ the beginning

    def _entry(self, attempt: Found, family: Family) -> Entry:
        uri, key = self.target.uri, attempt.described.key
        entry = self.ledger.entry(uri, key)
        if entry is None:
            with self.alone():
                run_id = self._find_or_create(attempt)
            self.ledger.remember(uri, key, run_id)
            entry = Entry(run_id=run_id, described=False, settled=False)
        if not entry.described:
            self._describe(attempt, family, entry.run_id)
            self.ledger.mark_described(uri, key)
        return entry

    def _find_or_create(self, attempt: Found) -> str:
        experiment_id, _ = self.open_experiment(attempt)
        one = attempt.described
        found = self.target.find_run(experiment_id, one.key)
        if found is not None:
            return found
        return self.target.create_run(
            NewRun(
                experiment_id=experiment_id,
                name=one.name_in(self.experiment or one.campaign),
                start_time=start_time(attempt),
                key=one.key,
                tags=start_tags(one),
            )
        )

    def _describe(self, attempt: Found, family: Family, run_id: str) -> None:
        one = attempt.described
        who = f"{one.campaign}/{one.run}/attempt-{one.attempt}"
        try:
            self.target.log_params(run_id, params_of(one))
        except Refused as error:
            self.say(f"{who}: its params are not all in MLflow: {error}")
        if (missing := unknown_ancestor(one.attempt, _described(family))) is not None:
            self.say(
                f"{who}: attempt {missing}, which it goes on from, is not here: its curve begins later"
            )
        before = max((n for n in family if n < one.attempt), default=None)
        self._link(family, child=before, parent=one.attempt)
        after = min((n for n in family if n > one.attempt), default=None)
        self._link(family, child=one.attempt, parent=after)

    def _state_facts(self, attempt: Found, run_id: str) -> None:
        """What the trainer said of itself, as params: how many parameters it has, what data it found."""
        facts = started_facts(attempt)
        if not facts:
            return
        if tags := fact_tags(facts):
            self.target.set_tags(run_id, tags)
        try:
            self.target.log_params(run_id, fact_params(facts))
        except Refused as error:
            one = attempt.described
            who = f"{one.campaign}/{one.run}/attempt-{one.attempt}"
            self.say(f"{who}: what its trainer said of itself is not all in MLflow: {error}")

    def _link(self, family: Family, *, child: int | None, parent: int | None) -> None:
        """Hang the run of an attempt below that of the next one, so that a list shows one a run."""
        if child is None or parent is None:
            return
        below = self.ledger.entry(self.target.uri, family[child].described.key)
        above = self.ledger.entry(self.target.uri, family[parent].described.key)
        if below is None or above is None:
            return  # the later of the two to be described links them
        try:
            self.target.set_tags(below.run_id, {PARENT_TAG: above.run_id})
        except NotActive:
            self.say(f"{family[child].described.run_name}: its run was deleted; it is not linked")

    # ------------------------------------------------------------ the points

    def _publish_some(self, attempt: Found, family: Family, entry: Entry, *, suspect: bool) -> bool:
        for source in sources(attempt.described.attempt, _described(family)):
            if self._read_and_send(attempt, family[source.attempt], source, entry, suspect=suspect):
                return True
        return False

    def _read_and_send(
        self, attempt: Found, of: Found, source: Source, entry: Entry, *, suspect: bool
    ) -> bool:
        uri, key = self.target.uri, attempt.described.key
        at = self.ledger.position(uri, key, source.attempt)
        read = read_points(of.files.metrics, at)
        if read.restarted:
            self.say(f"{of.files.metrics} is another file than before; published from its start")
        if read.bad:
            first = read.bad[0]
            what = f"{read.bad_lines} lines are left out, the first at byte {first.offset}"
            self.say(f"{of.files.metrics}: {what}: {first.why}")
        if read.position == at:
            return False
        if at == START and source.attempt == attempt.described.attempt:
            self._state_facts(attempt, entry.run_id)  # before its first line it has said them
        lines = [line for line in read.lines if source.holds(line.step)]
        self._send(attempt, lines, entry, suspect)
        self.ledger.advance(uri, key, source.attempt, read.position)
        return True

    def _send(self, attempt: Found, lines: list[MetricLine], entry: Entry, suspect: bool) -> None:
        run_id, key = entry.run_id, attempt.described.key
        if names := _long_names(lines):
            self.target.set_tags(run_id, names)

        def log(points: Sequence[Point]) -> None:
            self.target.log_points(run_id, points)
            self.published += len(points)

        def still_up() -> None:
            self.target.set_tags(run_id, {KEY_TAG: key})

        points = [point for line in lines for point in points_of(line)]
        rejected = send(points, log, still_up=still_up if suspect else None)
        news = self.ledger.refuse(self.target.uri, key, rejected)
        for one in {one.point.key: one for one in reversed(news)}.values():
            self.say(_refusal(attempt, one))

    # ------------------------------------------------------------ the end

    def _finish(self, attempt: Found, entry: Entry, how: Ended) -> None:
        self._state_facts(attempt, entry.run_id)  # of one that left before its first line
        self.target.set_tags(entry.run_id, end_tags(how.ending))
        known = None if how.ended_at is None else round(how.ended_at * 1000)
        end_time = known if known is not None else last_time(attempt) or start_time(attempt)
        self.target.end(entry.run_id, how.status, end_time)
        self._artifacts(attempt, entry.run_id)  # last: where they cannot be kept, the rest stands
        self.ledger.mark_settled(self.target.uri, attempt.described.key)

    def _artifacts(self, attempt: Found, run_id: str) -> None:
        for path in _kept_files(attempt):
            try:
                self.target.log_artifact(run_id, path)
            except Refused as error:
                self.say(f"{path} is not in MLflow: {error}")


def _kept_files(attempt: Found) -> Iterator[Path]:
    """The records of the attempt, and what its trainer made for people."""
    records = ("spec.json", "env.json", "kill.json", "exit.json")
    made = attempt.files.artifacts
    listed = sorted(made.iterdir()) if made.is_dir() else []
    for path in [*(attempt.files.root / name for name in records), *listed]:
        if path.is_file() and not path.name.startswith("."):
            yield path


def _described(family: Family) -> dict[int, Described]:
    return {number: found.described for number, found in family.items()}


def _long_names(lines: list[MetricLine]) -> dict[str, str]:
    names = {name for line in lines for name in line.metrics}
    return {tag: text for name in names for tag, text in long_name_tags(name).items()}


def _refusal(attempt: Found, rejected: Rejected) -> str:
    one, point = attempt.described, rejected.point
    return (
        f"{one.campaign}/{one.run}/attempt-{one.attempt}: MLflow refuses {point.key!r} = {point.value}"
        f" of step {point.step}: {rejected.why}; this and its like are listed in publisher.db"
    )
