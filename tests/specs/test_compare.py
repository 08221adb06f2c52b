"""When two campaigns are the same, and what is said where they are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.compare import difference, resolved_hash
from specs.load import load_text
from specs.run import CampaignSpec

TEXT = """
campaign: a
defaults:
  trainer: {kind: ep, resreg: 0.2}
  watch:
    - {name: up, rule: threshold, metric: val/ce, above: 1}
    - {rule: silence}
runs:
  redx: {}
  other: {resources: {hosts: [x]}}
"""


def campaign(*sets: str) -> CampaignSpec:
    return load_text(TEXT, sets=sets).spec


@pytest.mark.parametrize(
    ("sets", "lines"),
    [
        ((), ()),
        (("redx.trainer.resreg=0.1",), ("runs.redx.trainer.resreg: 0.2 -> 0.1",)),
        (("redx.trainer.resreg=0.2",), ()),
        (("redx.watch.up.above=2",), ("runs.redx.watch.up.above: 1.0 -> 2.0",)),
        (("other.resources.hosts=[]",), ("runs.other.resources.hosts: ['x'] -> []",)),
        (("redx.limits.timeout=1m",), ("runs.redx.limits.timeout: nothing (null) -> 60.0",)),
        (
            ("redx.watch=[]",),
            ("runs.redx.watch.up: present -> absent", "runs.redx.watch.silence: present -> absent"),
        ),
        (
            ("defaults.priority=1",),
            ("runs.redx.priority: 0 -> 1", "runs.other.priority: 0 -> 1"),
        ),
    ],
)
def test_each_setting_that_differs_is_one_line(
    sets: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    assert difference(campaign(), campaign(*sets)) == lines


def test_runs_that_come_or_go_are_lines_too() -> None:
    fewer = load_text(TEXT.replace("  other: {resources: {hosts: [x]}}\n", "")).spec
    assert difference(campaign(), fewer) == ("runs.other: present -> absent",)
    assert difference(fewer, campaign()) == ("runs.other: absent -> present",)


def test_the_way_a_campaign_is_written_is_no_difference() -> None:
    again = """
# the same, said otherwise
runs:
  other: {watch: &w [{rule: silence, for_seconds: 10m}, {name: up, rule: threshold, metric: val/ce, above: 1.0}],
          trainer: &t {resreg: 2e-1, kind: ep}, resources: {hosts: ["x"]}}
  redx: {trainer: *t, watch: *w, priority: 0}
campaign: "a"
schema_version: 1
"""
    spec = load_text(again).spec
    assert difference(campaign(), spec) == ()
    assert resolved_hash(spec) == resolved_hash(campaign())


settings = st.lists(
    st.sampled_from(
        [
            "redx.trainer.resreg=0.1",
            "defaults.trainer.resreg=0.1",
            "other.trainer.resreg=0.1",
            "redx.trainer.resreg=0.2",
            "redx.watch.up.above=3",
            "other.watch=[]",
            "redx.priority=1",
            "redx.watch.up.action=kill",
        ]
    ),
    max_size=4,
)


@given(settings, settings)
def test_the_hash_is_equal_exactly_where_there_is_no_difference(a: list[str], b: list[str]) -> None:
    old, new = campaign(*a), campaign(*b)
    assert (resolved_hash(old) == resolved_hash(new)) == (difference(old, new) == ())
    assert len(difference(old, new)) == len(difference(new, old))


def test_a_run_has_a_hash_of_its_own() -> None:
    old, new = campaign(), campaign("redx.priority=1")
    assert resolved_hash(old.runs["other"]) == resolved_hash(new.runs["other"])
    assert resolved_hash(old.runs["redx"]) != resolved_hash(new.runs["redx"])
