from __future__ import annotations

from typing import Any

import pytest

from campaign.gpus.inventory import cpu_slots
from campaign.gpus.probe import Device, DeviceKind
from campaign.gpus.refs import Exclusion, parse
from campaign.gpus.resolve import Resolved, Row, resolve
from specs.resources import Resources


def device(id: str, host: str, index: int) -> Device:
    return Device(id=id, kind=DeviceKind.GPU, host=host, index=index, name="test")


A0 = device("GPU-1f0c0001", "hosta", 0)
A1 = device("GPU-1f0d0002", "hosta", 1)
B0 = device("GPU-99aa0003", "hostb", 0)
WHOLE = device("GPU-77bb0004", "hostc", 0)
SLICE = device("MIG-55cc0005", "hostc", 0)
DEVICES = (A0, A1, B0, WHOLE, SLICE, *cpu_slots("hosta", 4), *cpu_slots("hostb", 2))


def asked(site: tuple[int | str, ...] = (), complete: bool = True, **resources: Any) -> Resolved:
    exclusions = [Exclusion(ref=parse(s), origin="/etc/campaign.toml") for s in site]
    return resolve(Resources(**resources), DEVICES, exclusions, complete=complete)


@pytest.mark.parametrize(
    ("resources", "pin", "exclude"),
    [
        ({"gpus": 1}, (), set()),
        ({"gpus": 1, "pin": ("1f0c",)}, (A0.id,), set()),
        ({"gpus": 2, "pin": ("hosta:0", "1f0d")}, (A0.id, A1.id), set()),
        ({"gpus": 1, "exclude": ("hosta:0", "GPU-99")}, (), {A0.id, B0.id}),
        ({"gpus": 1, "pin": (1,)}, (A1.id,), set()),
        ({"gpus": 1, "pin": ("MIG-55",)}, (SLICE.id,), set()),
        ({"gpus": 0, "cpus": 4}, (), set()),
        ({"gpus": 1, "hosts": ("hostb",)}, (), set()),
    ],
)
def test_sound_resources_give_ids_and_no_problem(
    resources: dict[str, Any], pin: tuple[str, ...], exclude: set[str]
) -> None:
    found = asked(**resources)
    assert (found.pin, found.exclude, found.problems) == (pin, exclude, ())


@pytest.mark.parametrize(
    ("site", "resources", "row", "path", "words"),
    [
        ((), {"gpus": 3}, Row.TOO_MANY, ("gpus",), "hosta has 2"),
        ((0,), {"gpus": 2}, Row.TOO_MANY, ("gpus",), "hosta has 1"),
        ((), {"gpus": 2, "exclude": ("1f0c",)}, Row.TOO_MANY, ("gpus",), "hosta has 1"),
        ((), {"gpus": 2, "hosts": ("hostb",)}, Row.TOO_MANY, ("gpus",), "hostb has 1"),
        ((), {"gpus": 2, "pin": ("1f0c", "99aa")}, Row.TOO_MANY, ("gpus",), "hosta has 1"),
        ((), {"gpus": 0, "cpus": 5}, Row.TOO_MANY, ("cpus",), "hosta has 4"),
        (
            (),
            {"gpus": 1, "pin": ("1f0c",), "exclude": ("hosta:0",)},
            Row.PINNED_AND_EXCLUDED,
            ("pin", 0),
            "excluded by hosta:0 in resources.exclude",
        ),
        (
            ("GPU-1f0c",),
            {"gpus": 1, "pin": ("99aa", "1f0c")},
            Row.PINNED_AND_EXCLUDED,
            ("pin", 1),
            "excluded by GPU-1f0c in /etc/campaign.toml",
        ),
        ((), {"gpus": 1, "pin": ("dead",)}, Row.UNKNOWN, ("pin", 0), "dead is no known GPU"),
        ((), {"gpus": 1, "exclude": (7,)}, Row.UNKNOWN, ("exclude", 0), "7 is no known GPU"),
        ((), {"gpus": 1, "exclude": ("x y",)}, Row.UNKNOWN, ("exclude", 0), "names no device"),
        ((), {"gpus": 1, "hosts": ("hostz",)}, Row.UNKNOWN, ("hosts", 0), "no known host"),
        ((), {"gpus": 1, "pin": ("1f0",)}, Row.AMBIGUOUS, ("pin", 0), "may mean 2 GPUs"),
        ((), {"gpus": 1, "exclude": ("dd", 0)}, Row.AMBIGUOUS, ("exclude", 1), "may mean 3 GPUs"),
        (
            (),
            {"gpus": 2, "pin": ("x y", "1f0c", "hosta:0")},
            Row.DUPLICATE,
            ("pin", 2),
            "1f0c and hosta:0 are the same GPU",
        ),
        (
            (),
            {"gpus": 1, "exclude": ("1f0c", "hosta:0")},
            Row.DUPLICATE,
            ("exclude", 1),
            "the same GPU",
        ),
        ((), {"gpus": 1, "pin": ("hostc:0",)}, Row.MIG_MODE, ("pin", 0), "MIG mode"),
    ],
)
def test_a_bad_resource_is_told_by_row_field_and_sentence(
    site: tuple[int | str, ...],
    resources: dict[str, Any],
    row: Row,
    path: tuple[str | int, ...],
    words: str,
) -> None:
    problems = [p for p in asked(site, **resources).problems if (p.row, p.path) == (row, path)]
    assert len(problems) == 1
    assert words in problems[0].message
    assert problems[0].hint
    assert not problems[0].warning


def test_all_problems_are_found_at_once() -> None:
    problems = asked(gpus=2, pin=("dead", "1f0"), exclude=("99aa", "hostb:0")).problems
    assert {p.row for p in problems} == {Row.UNKNOWN, Row.AMBIGUOUS, Row.DUPLICATE}


def test_an_unknown_device_is_told_what_there_is() -> None:
    (problem,) = asked(gpus=1, pin=("dead",)).problems
    assert "hosta:0 (GPU-1f0c0001)" in problem.hint


@pytest.mark.parametrize(
    "resources",
    [
        {"gpus": 1, "pin": ("dead",)},
        {"gpus": 1, "exclude": ("hostz:1",)},
        {"gpus": 64},
        {"gpus": 1, "hosts": ("hostz",)},
    ],
)
def test_while_not_all_hosts_are_known_what_one_could_mend_is_a_warning(
    resources: dict[str, Any],
) -> None:
    problems = asked(complete=False, **resources).problems
    assert problems
    assert all(p.warning for p in problems)


def test_a_contradiction_is_an_error_even_while_hosts_are_unknown() -> None:
    (problem,) = asked(complete=False, gpus=1, pin=("1f0c",), exclude=("hosta:0",)).problems
    assert not problem.warning


@pytest.mark.parametrize("pin", ["dead", "1f0"])
def test_a_pin_that_names_no_single_device_is_never_lost(pin: str) -> None:
    found = asked(complete=False, gpus=1, pin=(pin,))
    assert found.pin == ()
    assert [str(ref) for ref in found.unresolved] == [pin]


def test_an_exclusion_that_became_ambiguous_excludes_all_that_it_may_mean() -> None:
    assert asked(gpus=1, exclude=("1f0",)).exclude == {A0.id, A1.id}


def test_an_exclusion_of_an_unknown_device_stays_in_force() -> None:
    found = asked(complete=False, gpus=1, exclude=("dead",))
    assert [str(e.ref) for e in found.exclusions] == ["dead"]
