"""Laws of the device table: one word for each device, and why."""

from __future__ import annotations

from typing import Any

import pytest

from campaign.devices import Holdings, Seen, device_rows
from campaign.gpus.probe import Device, DeviceKind, DeviceProcess, DeviceReport, ProbeKind
from campaign.hosts.port import HostFacts
from campaign.rows import AttemptRow

GPU = "GPU-11111111-2222-3333-4444-555555555555"
GIB = 1 << 30


def _seen(*, up: bool = True, excluded: bool = False, **device: Any) -> Seen:
    gpu = Device(
        id=GPU, kind=DeviceKind.GPU, host="h", index=0, name="H200", memory_total=100 * GIB,
        **{"memory_used": 0, **device},
    )  # fmt: skip
    facts = HostFacts(
        host="h", boot_id="b", address="a", uid=1000,
        devices=DeviceReport(probe=ProbeKind.REAL, devices=(gpu,)),
        excluded={GPU: "0 in /etc/campaign.toml"} if excluded else {},
        cookies={"cookie": (7,)},
    )  # fmt: skip
    return Seen(facts=facts, at=100.0, up=up)


def _holdings(*, leased: bool = False, quarantined: bool = False) -> Holdings:
    attempt = AttemptRow(
        campaign="c", run="a", number=2, status="running", result=None, failure_class=None,
        rule=None, reason="", exit_code=None, host="h", devices=(GPU,), start={"kind": "scratch"},
        parent=None, created_at=0.0, running_since=0.0, ended_at=None, verdict=None, identity=None,
        directory="/x", leased=True, progress={},
    )  # fmt: skip
    return Holdings(
        leases={GPU: attempt} if leased else {},
        quarantines={GPU: "its memory was not given back"} if quarantined else {},
        cookies={("c", "a", 2): "cookie"} if leased else {},
    )


OURS = DeviceProcess(pid=7, uid=1000, user="me", memory_bytes=GIB)
ALICE = DeviceProcess(pid=8, uid=1001, user="alice", memory_bytes=41 * GIB)


@pytest.mark.parametrize(
    ("seen", "holdings", "use", "why"),
    [
        (_seen(), _holdings(), "free", ""),
        (_seen(processes=(OURS,), memory_used=GIB), _holdings(leased=True), "ours", ""),
        (_seen(processes=(ALICE,)), _holdings(), "foreign", "alice"),
        (_seen(processes=(OURS, ALICE)), _holdings(leased=True), "ours", "alice"),
        (_seen(memory_used=2 * GIB), _holdings(), "ghost", "2.0 GiB"),
        (_seen(problem="NVML lost it"), _holdings(), "unknown", "NVML lost it"),
        (_seen(excluded=True), _holdings(), "excluded", "/etc/campaign.toml"),
        (_seen(excluded=True, processes=(ALICE,)), _holdings(), "excluded", "/etc/campaign.toml"),
        (_seen(), _holdings(quarantined=True), "quarantined", "not given back"),
        (_seen(up=False), _holdings(leased=True), "down", "does not answer"),
    ],
)
def test_a_device_has_one_use_and_a_reason(
    seen: Seen, holdings: Holdings, use: str, why: str
) -> None:
    (row,) = device_rows([seen], holdings)
    assert row.use == use
    assert why in row.why


def test_a_leased_device_names_its_owner_and_its_users() -> None:
    (row,) = device_rows([_seen(processes=(OURS, ALICE))], _holdings(leased=True))
    assert (row.owner, row.attempt, row.users) == ("c/a", 2, ("me", "alice"))
