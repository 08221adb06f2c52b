"""Laws of `campaign alerts --test`: each sink is tried, and a failure is an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from campaign.errors import ExitCode
from campaign.home import Home
from tests.campaign.cli.conftest import Cli


@pytest.fixture(autouse=True)
def no_user_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_logs_take_a_test_alert(cli: Cli, home: Home) -> None:
    done = cli("alerts", "--test")
    assert (done.code, done.err) == (0, "")
    assert "alerts.log" in done.out
    assert "a test" in home.alerts_log.read_text()


def test_a_sink_that_fails_is_named_and_the_exit_code_says_so(
    cli: Cli, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CANARY_URL", raising=False)
    home.config.write_text("[notify]\nurls = ['env:CANARY_URL']\n")
    done = cli("alerts", "--test", "--json")
    rows = {row["sink"]: row for row in json.loads(done.out)["data"]}
    assert done.code == ExitCode.PARTLY_DONE
    assert rows["alerts.log"]["ok"] is True
    assert rows["apprise:env:CANARY_URL"]["ok"] is False
    assert "not set" in rows["apprise:env:CANARY_URL"]["detail"]
