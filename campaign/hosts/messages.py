"""What goes over the pipe between a controller and its desk: messages in, facts out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from campaign.hosts.port import Cursor, HostFacts, Launch, Observation, Order


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------- to the desk


class Start(Message):
    op: Literal["start"] = "start"
    host: str
    launch: Launch


class GiveOrder(Message):
    op: Literal["order"] = "order"
    host: str
    directory: str
    order: Order


class Reap(Message):
    op: Literal["reap"] = "reap"
    host: str
    directory: str
    order: Order


class Keep(Message):
    op: Literal["keep"] = "keep"
    host: str
    directory: str
    steps: tuple[int, ...]


class Prove(Message):
    op: Literal["prove"] = "prove"
    host: str
    directory: str


class Track(Message):
    """Observe and watch this attempt from now on; hold its lease (again, after a restart)."""

    op: Literal["track"] = "track"
    host: str
    directory: str
    cursor: Cursor
    devices: tuple[str, ...]


class Release(Message):
    op: Literal["release"] = "release"
    directory: str


class Untrack(Message):
    op: Literal["untrack"] = "untrack"
    host: str
    directory: str


class Leave(Message):
    """The last one to a cluster that is not ours: end what was started in it, trainers excepted."""

    op: Literal["leave"] = "leave"


AnyMessage = Annotated[
    Start | GiveOrder | Reap | Keep | Prove | Track | Release | Untrack | Leave,
    Field(discriminator="op"),
]
MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


# ---------------------------------------------------------------- from the desk


class HostSeen(Message):
    fact: Literal["host_seen"] = "host_seen"
    facts: HostFacts


class HostLost(Message):
    fact: Literal["host_lost"] = "host_lost"
    host: str
    reason: str


class Observed(Message):
    fact: Literal["observed"] = "observed"
    observation: Observation


class StartFailed(Message):
    fact: Literal["start_failed"] = "start_failed"
    directory: str
    reason: str


class ReapFailed(Message):
    fact: Literal["reap_failed"] = "reap_failed"
    directory: str
    reason: str


class Unstarted(Message):
    fact: Literal["unstarted"] = "unstarted"
    directory: str


class Problem(Message):
    fact: Literal["problem"] = "problem"
    text: str


class Ready(Message):
    fact: Literal["ready"] = "ready"
    text: str


AnyFact = Annotated[
    HostSeen | HostLost | Observed | StartFailed | ReapFailed | Unstarted | Problem | Ready,
    Field(discriminator="fact"),
]
FACT: TypeAdapter[AnyFact] = TypeAdapter(AnyFact)
