"""Laws of device references that are taken once and kept."""

from __future__ import annotations

from typing import Any

import pytest

from campaign.gpus.freeze import freeze, frozen
from campaign.gpus.probe import Device, DeviceKind
from specs.resources import Resources

A0, A1 = "GPU-1f0c0000-0000-0000-0000-000000000001", "GPU-77aa0000-0000-0000-0000-000000000002"
B0 = "GPU-1f0c0000-0000-0000-0000-000000000003"


def gpu(host: str, index: int, uuid: str) -> Device:
    return Device(id=uuid, kind=DeviceKind.GPU, host=host, index=index, name="fake")


HOSTA = (gpu("hosta", 0, A0), gpu("hosta", 1, A1))
BOTH = (*HOSTA, gpu("hostb", 0, B0))


def resources(**fields: Any) -> Resources:
    return Resources(gpus=1, **fields)


@pytest.mark.parametrize(
    ("fields", "ids", "new"),
    [
        ({"pin": [0]}, {"0": A0}, [f"pin 0 = {A0}"]),
        ({"pin": ["hosta:1"]}, {"hosta:1": A1}, [f"pin hosta:1 = {A1}"]),
        ({"pin": ["77AA"]}, {"77AA": A1}, [f"pin 77AA = {A1}"]),
        ({"exclude": [1]}, {"1": A1}, [f"exclude 1 = {A1}"]),
        ({"pin": [A1.lower()]}, {A1.lower(): A1}, []),
        ({"pin": ["hostb:0"]}, {}, []),
        ({}, {}, []),
    ],
)
def test_a_reference_becomes_the_full_id_and_that_is_told_once(
    fields: dict[str, Any], ids: dict[str, str], new: list[str]
) -> None:
    found = freeze(resources(**fields), HOSTA, {})
    assert (dict(found.ids), list(found.new), found.problems) == (ids, new, ())
    again = freeze(resources(**fields), HOSTA, found.ids)
    assert (again.ids, again.new) == (found.ids, ())


def test_what_was_found_is_kept_when_a_second_host_joins_or_the_driver_counts_anew() -> None:
    asked = resources(pin=[0])
    first = freeze(asked, HOSTA, {})
    swapped = (gpu("hosta", 0, A1), gpu("hosta", 1, A0), gpu("hostb", 0, B0))
    assert freeze(asked, swapped, first.ids).ids == {"0": A0}
    assert frozen(asked, first.ids).pin == (A0,)


@pytest.mark.parametrize("field", ["pin", "exclude"])
def test_an_index_that_several_hosts_have_is_refused_with_the_candidates(field: str) -> None:
    found = freeze(resources(**{field: [0]}), BOTH, {})
    (problem,) = found.problems
    assert problem.startswith(f"{field} 0 may mean hosta:0 (GPU-1f0c")
    assert "hostb:0 (GPU-1f0c" in problem
    assert found.ids == {}


def test_an_index_is_meant_on_the_hosts_that_the_run_allows() -> None:
    found = freeze(resources(pin=[0], hosts=["hostb"]), BOTH, {})
    assert (found.ids, found.problems) == ({"0": B0}, ())


def test_a_reference_that_names_nothing_known_stays_open_until_its_host_comes() -> None:
    asked = resources(pin=["hostb:0"])
    waiting = freeze(asked, HOSTA, {})
    assert frozen(asked, waiting.ids) == asked
    assert freeze(asked, BOTH, waiting.ids).ids == {"hostb:0": B0}
