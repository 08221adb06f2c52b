"""What is true of every campaign, run, attempt, checkpoint and host. Immutable, no clock, no disk.

A record says only what is true: the facts of a status live in that status. All of them together are
the state (state.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from campaign.code import Code
from campaign.gpus.etiquette import Sight
from campaign.hosts.port import Cursor, HostFacts, Order
from campaign.stored_spec import StoredSpec
from specs.endings import FailureClass as FailureClass
from specs.endings import Result as Result

RunId = tuple[str, str]
"""(campaign, run)"""

AttemptId = tuple[str, str, int]
"""(campaign, run, number)"""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StartKind(StrEnum):
    SCRATCH = "scratch"
    WARM = "warm"
    RESUME = "resume"


class StartFrom(Record):
    """Where an attempt begins; checkpoint facts are absent for scratch alone."""

    kind: StartKind
    campaign: str | None = None
    run: str | None = None
    attempt: int | None = None
    step: int | None = None
    checkpoint: str | None = None
    manifest_sha256: str | None = None
    host: str | None = None


SCRATCH = StartFrom(kind=StartKind.SCRATCH)


class Ending(Record):
    """How a run or an attempt ended."""

    result: Result
    reason: str
    failure_class: FailureClass | None = None
    rule: str | None = None
    exit_code: int | None = None


# ---------------------------------------------------------------- runs


class Queued(Record):
    status: Literal["queued"] = "queued"
    since: float
    not_before: float = 0.0
    start: StartFrom | None = None  # None: as the spec says (scratch or warm)
    why: str = ""  # why it does not run yet


class Active(Record):
    status: Literal["active"] = "active"
    attempt: int


class Done(Record):
    status: Literal["done"] = "done"
    at: float
    ending: Ending


class Run(Record):
    campaign: str
    name: str
    order: int  # position in the order of submission, over all campaigns
    spec: StoredSpec  # as submitted
    changes: Mapping[str, Any] = {}  # ordered by rollbacks since
    references: Mapping[str, str] = {}  # device as written -> id that it was found to mean, kept
    attempts: int = 0  # numbers given so far; never reused
    crashes: int = 0
    losses: int = 0
    rollbacks: Mapping[str, int] = {}  # rule -> how often
    status: Annotated[Queued | Active | Done, Field(discriminator="status")]

    @property
    def id(self) -> RunId:
        return (self.campaign, self.name)


# ---------------------------------------------------------------- attempts


class Starting(Record):
    status: Literal["starting"] = "starting"


class Running(Record):
    status: Literal["running"] = "running"
    since: float


class Stopping(Record):
    status: Literal["stopping"] = "stopping"
    since: float
    by: str
    reason: str
    order: Order | None = None  # the user's, sent again until it is obeyed


class Ended(Record):
    status: Literal["done"] = "done"
    at: float
    ending: Ending


class WatchVerdict(Record):
    """The watcher's one kill or rollback of an attempt."""

    action: Literal["kill", "rollback"]
    rule: str
    reason: str
    onset: int
    end: int


class Attempt(Record):
    campaign: str
    run: str
    number: int
    cookie: str
    host: str
    devices: tuple[str, ...]
    directory: str
    start: StartFrom
    parent: int | None  # the attempt that this one continues
    created_at: float
    status: Annotated[Starting | Running | Stopping | Ended, Field(discriminator="status")]
    identity: Mapping[str, Any] | None = None  # of the trainer: boot id, pid, start ticks
    leased: bool = True
    verdict: WatchVerdict | None = None
    trainer_failure: tuple[str, str] | None = None  # class and message, from events.jsonl
    watch_closed: bool = False
    reaped: bool = False  # the host was told to end what a dead shim left
    reap_why: str = ""
    reap_failures: int = 0
    reap_again_at: float = 0.0
    kept: tuple[
        int, ...
    ] = ()  # steps that its trainer was told to keep for runs that wait for them
    cursor: Cursor = Cursor()

    @property
    def id(self) -> AttemptId:
        return (self.campaign, self.run, self.number)

    @property
    def run_id(self) -> RunId:
        return (self.campaign, self.run)


class Progress(Record):
    """The latest progress of an attempt: kept apart, as it changes every second."""

    campaign: str
    run: str
    number: int
    progress: Mapping[str, Any]


# ---------------------------------------------------------------- the rest


class CheckpointStatus(StrEnum):
    COMPLETE = "complete"
    CERTIFIED = "certified"
    REVOKED = "revoked"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


class Checkpoint(Record):
    campaign: str
    run: str
    attempt: int
    step: int
    path: str
    host: str
    manifest_sha256: str
    completed_at: float
    status: CheckpointStatus = CheckpointStatus.COMPLETE
    reason: str = ""
    evidence: Mapping[str, Any] | None = None

    @property
    def id(self) -> tuple[str, str, int, int]:
        return (self.campaign, self.run, self.attempt, self.step)


class Campaign(Record):
    name: str
    spec_hash: str
    profile: str | None
    submitted_at: float
    debug: bool = False
    root: str  # the home's directory
    cwd: str
    env: Mapping[str, str]  # allow-listed
    git_commit: str | None = None
    git_dirty: bool = False
    code: Code | None = None
    text: str = ""  # the file as written


class HostRecord(Record):
    name: str
    up: bool
    seen_at: float
    facts: HostFacts


class HostSights(Record):
    """What a row of looks at the GPUs of a host amounts to. Never stored: it is looked at anew."""

    host: str
    sights: Mapping[str, Sight]


class Quarantine(Record):
    device: str
    since: float
    reason: str
    lifted: bool = False


class Alert(Record):
    campaign: str
    run: str
    attempt: int
    key: str
    at: float
    rule: str
    action: str
    reason: str
    step: int | None = None
    metric: str | None = None
    value: float | str | None = None

    @property
    def id(self) -> tuple[str, str, int, str]:
        return (self.campaign, self.run, self.attempt, self.key)


AnyRecord = (
    Campaign | Run | Attempt | Checkpoint | HostRecord | HostSights | Quarantine | Alert | Progress
)
