"""Laws of what is checked before a campaign is taken: this machine, its devices, where it comes from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from campaign.hosts.port import HostFacts
from campaign.preparing import Known, check, origin_of, read_campaign, record_of
from specs.errors import SpecErrors
from specs.run import CampaignSpec
from tests.campaign import worlds
from tests.campaign.worlds import spec

ONE = "GPU-1f0c0000-0000-0000-0000-000000000001"
TWO = "GPU-1f0c0000-0000-0000-0000-000000000002"
THREE = "GPU-77aa0000-0000-0000-0000-000000000003"

FILE = """\
campaign: c
runs:
  a:
    trainer: {{kind: command, argv: ["true"]}}
    resources:
      gpus: {gpus}
      pin: {pin}
      exclude: {exclude}
"""


def _known(*gpus: str, excluded: dict[str, str] | None = None) -> Known:
    facts: HostFacts = worlds.host("hosta", gpus=gpus).model_copy(
        update={"excluded": excluded or {}}
    )
    return Known(hosts=(facts,), complete=True)


def _file(directory: Path, **resources: Any) -> Path:
    path = directory / "c.yaml"
    known = {"gpus": 1, "pin": "[]", "exclude": "[]"}
    path.write_text(FILE.format(**{**known, **resources}))
    return path


@pytest.mark.parametrize(
    ("resources", "excluded", "place", "says"),
    [
        ({"gpus": 4}, {}, "6:13", "no host has so many GPUs"),  # 51
        ({"gpus": 3}, {ONE: "0 in /etc/campaign.toml"}, "6:13", "no host has so many GPUs"),  # 51
        (
            {"pin": f"[{THREE}]"},
            {THREE: "2 in /etc/campaign.toml"},
            "7:13",
            "/etc/campaign.toml",
        ),  # 52
        ({"pin": "[GPU-ffff]"}, {}, "7:13", "no known GPU"),  # 53
        ({"exclude": "[9]"}, {}, "8:17", "no known GPU"),  # 53
        ({"pin": "[GPU-1f0c]"}, {}, "7:13", "may mean 2 GPUs"),  # 54
        ({"pin": "[2, GPU-77aa]"}, {}, "7:16", "the same GPU"),  # 55
    ],
)
def test_a_device_that_cannot_be_had_is_refused_where_it_was_written(
    resources: dict[str, Any], excluded: dict[str, str], place: str, says: str, tmp_path: Path
) -> None:
    read = read_campaign(_file(tmp_path, **resources))
    with pytest.raises(SpecErrors) as errors:
        check(read, _known(ONE, TWO, THREE, excluded=excluded))
    (error,) = errors.value.errors
    assert error.location == f"{tmp_path}/c.yaml:{place}"
    assert says in f"{error.got} {error.allowed} {error.hint}"
    assert errors.value.exit_code == 3


@pytest.mark.parametrize("resources", [{"gpus": 4}, {"pin": "[GPU-ffff]"}])
def test_a_plan_only_doubts_what_another_machine_may_have(
    resources: dict[str, Any], tmp_path: Path
) -> None:
    read = read_campaign(_file(tmp_path, **resources))
    (doubt,) = check(read, _known(ONE, TWO, THREE), planned=True)
    assert doubt.startswith("no device here can take a: ")
    assert doubt.endswith("; a submit here is refused")


def test_a_plan_refuses_what_no_machine_can_have(tmp_path: Path) -> None:
    read = read_campaign(_file(tmp_path, pin="[2, GPU-77aa]"))
    with pytest.raises(SpecErrors, match="the same GPU"):
        check(read, _known(ONE, TWO, THREE), planned=True)


def test_a_device_that_is_there_is_no_problem(tmp_path: Path) -> None:
    read = read_campaign(_file(tmp_path, pin="[GPU-77aa]", exclude="[hosta:0]"))
    assert check(read, _known(ONE, TWO, THREE)) == ()


def test_without_a_known_host_a_device_is_a_doubt_and_the_run_waits(tmp_path: Path) -> None:
    read = read_campaign(_file(tmp_path, pin="[GPU-77aa]"))
    (doubt,) = check(read, Known())
    assert "no host is known yet" in doubt


def test_a_run_on_cpu_slots_needs_no_known_host(tmp_path: Path) -> None:
    assert check(read_campaign(_file(tmp_path, gpus=0)), Known()) == ()


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, gpus=0)
    path.write_text(path.read_text().replace('"true"', '"no-such-program"'))
    with pytest.raises(SpecErrors, match="no-such-program"):
        check(read_campaign(path), Known())


def test_a_campaign_of_the_package_is_found_where_the_file_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = read_campaign("specs/ep_resreg.yaml")
    assert read.spec.campaign == "ep_resreg"
    assert "comes with campaign" in read.warnings[0]


def test_a_missing_file_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors, match="no such file"):
        read_campaign(tmp_path / "mine.yaml")


def test_a_resolved_campaign_is_taken_as_it_is() -> None:
    resolved = CampaignSpec(campaign="c", runs={"a": spec()})
    assert read_campaign(resolved).spec == resolved
    assert read_campaign(resolved, as_name="d").spec.campaign == "d"
    with pytest.raises(SpecErrors, match="lower case"):
        read_campaign(resolved, as_name="No Name")


def test_no_secret_of_the_environment_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "topsecret")
    read = read_campaign(CampaignSpec(campaign="c", runs={"a": spec()}))
    record = record_of(read, tmp_path, origin_of(read, tmp_path))
    assert record.env.get("PATH") == os.environ["PATH"]
    assert "topsecret" not in json.dumps(record.model_dump(mode="json"))
