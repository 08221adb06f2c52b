"""Laws of the doctor's look at the sinks: one that cannot work is named, and no secret is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from campaign.checks import alerts
from campaign.checks.finding import Context, Finding, Level
from campaign.gpus.fake import FakeProbe
from campaign.gpus.probe import DeviceReport, ProbeKind

Look = Callable[[str], list[Finding]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """The findings for a [notify] table; nothing of whoever runs the tests counts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path))

    def findings(table: str) -> list[Finding]:
        (tmp_path / "campaign.toml").write_text(f"[notify]\n{table}\n")
        probe = FakeProbe([DeviceReport(probe=ProbeKind.NONE, devices=())])
        context = Context(home=tmp_path, runtime=None, host="hosta", environ={}, probe=probe)
        return list(alerts.alerts(context))

    return findings


def test_a_home_without_further_sinks_is_fine(look: Look) -> None:
    (finding,) = look("")
    assert finding.level is Level.OK


def test_a_desktop_without_notify_send_is_a_warning(look: Look) -> None:
    (finding,) = look("desktop = true")
    assert finding.level is Level.WARN
    assert "no notify-send" in finding.sentence


def test_urls_without_apprise_are_a_warning(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "find_spec", lambda name: None)
    monkeypatch.setenv("CANARY_URL", "json://canary-9f3a/")
    findings = look("urls = ['env:CANARY_URL']")
    assert [f.level for f in findings] == [Level.WARN, Level.OK]
    assert "campaign[notify]" in findings[0].advice
    assert "canary-9f3a" not in str(findings)


def test_a_reference_to_nothing_is_a_warning(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANARY_URL", raising=False)
    assert "CANARY_URL is not set" in look("urls = ['env:CANARY_URL']")[-1].sentence


def test_a_configuration_that_cannot_be_read_is_left_to_its_own_check(look: Look) -> None:
    assert look("nonsense = 1") == []
