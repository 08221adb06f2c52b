"""Laws of reading requests: what can be read is an event, what cannot is refused and never raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign import events as e
from campaign.requests import Down, read
from campaign.store import Request
from tests.campaign.worlds import campaign, spec

RUN = spec().model_dump(mode="json")


def request(kind: str, payload: Any) -> Request:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return Request(id=7, kind=kind, text=text, made_at=0.0)


def submit(**runs: Any) -> dict[str, Any]:
    return {"campaign": campaign().model_dump(mode="json"), "runs": json.dumps(runs)}


@pytest.mark.parametrize(
    ("kind", "payload", "event"),
    [
        ("submit", submit(a=RUN), e.Submitted(campaign=campaign(), runs={"a": spec()})),
        (
            "stop",
            {"runs": [["c", "a"]], "kill": True, "by": "user", "reason": "r"},
            e.StopRequested(runs=(("c", "a"),), kill=True, by="user", reason="r"),
        ),
        ("resume", {"run": ["c", "a"], "origin": 5}, e.ResumeRequested(run=("c", "a"), origin=5)),
        (
            "resume",
            {"run": ["c", "a"], "origin": "latest"},
            e.ResumeRequested(run=("c", "a"), origin="latest"),
        ),
        ("lift", {"device": "GPU-1"}, e.QuarantineLifted(device="GPU-1")),
        ("down", {"stop_runs": True}, Down(stop_runs=True)),
    ],
)
def test_a_request_is_the_event_that_it_asks_for(kind: str, payload: Any, event: Any) -> None:
    assert read(request(kind, payload)) == event


@pytest.mark.parametrize(
    ("kind", "payload", "campaign_name", "says"),
    [
        ("submit", submit(a={**RUN, "colour": 1}), "c", "a.colour: Extra inputs"),
        ("submit", submit(a={**RUN, "trainer": {"kind": "old"}}), "c", "a.trainer"),
        ("submit", {**submit(a=RUN), "runs": "[{"}, "c", "Invalid JSON"),
        ("submit", {"campaign": {"name": "c", "new": 1}, "runs": "{}"}, "c", "campaign."),
        ("submit", {"runs": "{}"}, "", "campaign: Field required"),
        ("submit", '{"campaign": {"name": "c"', "", "Invalid JSON"),
        ("submit", "[" * 100_000, "", "cannot read it"),
        ("stop", {"runs": "all"}, "", "runs"),
        ("resume", {}, "", "run: Field required"),
        ("down", {"stop_runs": "perhaps"}, "", "stop_runs"),
        ("paint", {}, "", "knows no 'paint'"),
    ],
)
def test_what_cannot_be_read_is_refused_and_says_why(
    kind: str, payload: Any, campaign_name: str, says: str
) -> None:
    refused = read(request(kind, payload))
    assert isinstance(refused, e.RequestRefused)
    assert (refused.request, refused.kind, refused.campaign) == (7, kind, campaign_name)
    assert says in refused.reason


@given(
    kind=st.sampled_from(["submit", "stop", "resume", "lift", "down"]), text=st.text(max_size=60)
)
def test_no_text_whatever_makes_reading_fail(kind: str, text: str) -> None:
    assert isinstance(read(request(kind, text)), e.RequestRefused)
