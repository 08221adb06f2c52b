"""From a request as it lies in the store to the event that it is. Pure; never raises.

The client that wrote it may be of another version, and a row may be damaged: what cannot be read is a
request refused, which is an event too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from campaign import events as e
from campaign.records import Campaign
from campaign.store import Request
from campaign.stored_spec import problems
from specs.run import RunSpec

_RUNS: TypeAdapter[dict[str, RunSpec]] = TypeAdapter(dict[str, RunSpec])


@dataclass(frozen=True, kw_only=True)
class Down:
    """The controller is to end; ``stop_runs``: and its runs before."""

    stop_runs: bool


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Submit(_Payload):
    campaign: Campaign
    runs: str  # JSON text: the order of the runs is kept, whatever happens to the rest


class _Stop(_Payload):
    runs: tuple[tuple[str, str], ...]
    kill: bool
    by: str
    reason: str


class _Resume(_Payload):
    run: tuple[str, str]
    origin: str | int


class _Lift(_Payload):
    device: str


class _Down(_Payload):
    stop_runs: bool


def read(request: Request) -> e.Event | Down:
    """What is asked for, or that it is refused and why."""
    reader = _READERS.get(request.kind)
    if reader is None:
        return _refused(request, f"this version of campaign knows no {request.kind!r}")
    try:
        return reader(request.text)
    except ValidationError as error:
        return _refused(request, f"this version of campaign cannot read it: {problems(error)}")


def _submit(text: str) -> e.Event:
    payload = _Submit.model_validate_json(text)
    return e.Submitted(campaign=payload.campaign, runs=_RUNS.validate_json(payload.runs))


def _stop(text: str) -> e.Event:
    return e.StopRequested(**dict(_Stop.model_validate_json(text)))


def _resume(text: str) -> e.Event:
    return e.ResumeRequested(**dict(_Resume.model_validate_json(text)))


def _lift(text: str) -> e.Event:
    return e.QuarantineLifted(device=_Lift.model_validate_json(text).device)


def _down(text: str) -> Down:
    return Down(stop_runs=_Down.model_validate_json(text).stop_runs)


_READERS: Mapping[str, Callable[[str], e.Event | Down]] = {
    "submit": _submit,
    "stop": _stop,
    "resume": _resume,
    "lift": _lift,
    "down": _down,
}


def _refused(request: Request, why: str) -> e.RequestRefused:
    return e.RequestRefused(
        request=request.id, kind=request.kind, campaign=_campaign_in(request.text), reason=why
    )


def _campaign_in(text: str) -> str:
    """The campaign that the request names; empty where that cannot be read either."""
    try:
        payload: Any = json.loads(text)
        name = payload["campaign"]["name"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return name if isinstance(name, str) else ""
