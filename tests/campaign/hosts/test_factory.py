"""Laws of this machine as a host: a broken file is no broken host."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign import config
from campaign.hosts.factory import local_host


@pytest.fixture(autouse=True)
def no_other_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the site's nor the user's configuration; two scripted GPUs."""
    script = tmp_path / "gpus.json"
    script.write_text('{"devices": [{"id": "GPU-1f0c", "index": 0, "name": "fake"}]}')
    monkeypatch.setenv("CAMPAIGN_FAKE_GPUS", str(script))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(config, "SITE_FILE", tmp_path / "no-site.toml")


def test_a_host_with_a_broken_file_describes_itself_names_the_line_and_mends_with_the_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "campaign.toml"
    file.write_text("[gpus]\nexclude = [0]\n[home]\ncpu_slots = -1\n")
    host = local_host(tmp_path, name="h", cpu_slots=1)
    broken = host.describe()
    assert {device.id for device in broken.devices.devices} == {"GPU-1f0c", "cpu:h:0"}
    assert broken.misconfigured[0].startswith(f"{file}:4: home.cpu_slots: ")
    file.write_text("[gpus]\nexclude = [0]\n")
    mended = host.describe()
    assert mended.misconfigured == ()
    assert set(mended.excluded) == {"GPU-1f0c"}
