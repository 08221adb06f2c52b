from __future__ import annotations

import pytest

from campaign.gpus.probe import Device, DeviceKind
from campaign.gpus.refs import (
    BadRef,
    Exclusion,
    at_host,
    excluded,
    find,
    known,
    parse,
    unmatched,
)


def device(id: str, host: str = "hosta", index: int = 0) -> Device:
    kind = DeviceKind.CPU if id.startswith("cpu:") else DeviceKind.GPU
    return Device(id=id, kind=kind, host=host, index=index, name="test")


A0 = device("GPU-1f0c2233-0000-0000-0000-000000000001")
A1 = device("GPU-1f0d4455-0000-0000-0000-000000000002", index=1)
B0 = device("GPU-99aa0000-0000-0000-0000-000000000003", "hostb")
WHOLE = device("GPU-77bb0000-0000-0000-0000-000000000004", "hostb", 1)
SLICE = device("MIG-55cc0000-0000-0000-0000-000000000005", "hostb", 1)
CPU = device("cpu:hosta:0")
ALL = (A0, A1, B0, WHOLE, SLICE, CPU)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        (1, [A1, WHOLE]),
        ("1", [A1, WHOLE]),
        ("hosta:1", [A1]),
        ("HostA:1", [A1]),
        ("hostb:1", [WHOLE]),
        (7, []),
        (A0.id, [A0]),
        (A0.id.upper(), [A0]),
        (A0.id.removeprefix("GPU-"), [A0]),
        ("GPU-1f0c", [A0]),
        ("gpu-1F0", [A0, A1]),
        ("1f0d", [A1]),
        ("hosta:1f0", [A0, A1]),
        ("hostb:1f0", []),
        ("hostb:GPU-99", [B0]),
        ("MIG-55", [SLICE]),
        ("55cc", [SLICE]),
        ("GPU-55", []),
        (" 1f0d ", [A1]),
    ],
)
def test_a_reference_finds_the_devices_that_it_may_mean(
    written: int | str, found: list[Device]
) -> None:
    assert find(parse(written), ALL) == tuple(found)


@pytest.mark.parametrize(
    "written", ["", "GPU-", "hosta:", ":1", "zz", "hosta", -1, "1.5", "cpu:hosta:0", "a b:1", "²"]
)
def test_what_cannot_name_a_device_is_refused_with_the_grammar(written: int | str) -> None:
    with pytest.raises(BadRef, match="UUID"):
        parse(written)


def test_a_uuid_in_full_is_never_ambiguous() -> None:
    longer = device("GPU-11")
    shorter = device("GPU-1", index=1)
    assert find(parse("GPU-1"), (longer, shorter)) == (shorter,)


def test_every_full_uuid_finds_its_device() -> None:
    for gpu in (A0, A1, B0, WHOLE, SLICE):
        assert find(parse(gpu.id), ALL) == (gpu,)


def exclusion(written: int | str) -> Exclusion:
    return Exclusion(ref=parse(written), origin="/etc/campaign.toml")


@pytest.mark.parametrize(
    ("written", "gone"),
    [
        ("GPU-1f0c", {A0.id}),
        ("1f0", {A0.id, A1.id}),
        (0, {A0.id, B0.id}),
        ("hostb:0", {B0.id}),
        ("hostb:1", {WHOLE.id, SLICE.id}),
        (WHOLE.id, {WHOLE.id, SLICE.id}),
        (SLICE.id, {SLICE.id}),
        ("GPU-dead", set()),
    ],
)
def test_an_exclusion_covers_all_that_it_may_mean_and_the_slices_of_its_gpus(
    written: int | str, gone: set[str]
) -> None:
    assert set(excluded(ALL, [exclusion(written)])) == gone


def test_an_excluded_index_covers_slices_even_where_the_gpu_itself_is_not_listed() -> None:
    assert set(excluded([SLICE], [exclusion("hostb:1")])) == {SLICE.id}


def test_an_exclusion_of_a_device_not_known_yet_holds_once_it_appears() -> None:
    exclusions = [exclusion("GPU-1f0d")]
    assert unmatched([A0], exclusions) == tuple(exclusions)
    assert unmatched([A0, A1], exclusions) == ()
    assert set(excluded([A0, A1], exclusions)) == {A1.id}


def test_the_answer_names_the_reference_and_the_file() -> None:
    assert excluded(ALL, [exclusion("1f0c")])[A0.id] == "1f0c in /etc/campaign.toml"


@pytest.mark.parametrize(
    ("written", "bound"), [(2, "hosta:2"), ("hostb:2", "hostb:2"), ("GPU-1f", "GPU-1f")]
)
def test_a_bare_index_is_kept_with_its_host(written: int | str, bound: str) -> None:
    assert str(at_host(parse(written), "hosta")) == bound
    assert at_host(parse(written), "hosta") == at_host(at_host(parse(written), "hosta"), "hostb")


def test_the_known_gpus_are_told_by_host_and_index() -> None:
    assert known(ALL) == (
        "hosta:0 (GPU-1f0c2233…), hosta:1 (GPU-1f0d4455…), hostb:0 (GPU-99aa0000…), "
        "hostb:1 (GPU-77bb0000…), MIG-55cc0000…"
    )
    assert known([CPU]) == "no GPU is known"
    assert known([device(f"GPU-{n}", index=n) for n in range(10)]).endswith("2 more")
