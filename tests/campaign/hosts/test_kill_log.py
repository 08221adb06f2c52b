from __future__ import annotations

import json
from pathlib import Path

import pytest

from campaign.hosts.identity import Delivery
from campaign.hosts.inbox import Mail
from campaign.hosts.kill_log import KillLog
from campaign.hosts.ladder import Ending, Outcome, Rung
from specs.files import AttemptFiles

MAIL = Mail(number=3, key="k", action="stop", by="user", reason="r")


def log(directory: Path) -> KillLog:
    return KillLog(AttemptFiles(root=directory), attempt=1, cookie="abc")


def test_an_interrupted_ladder_leaves_its_order_and_the_time_of_its_sigterm(tmp_path: Path) -> None:
    first = log(tmp_path)
    first.begin(MAIL, by="shim")
    first.rung(Rung(name="term", at=5.0, result=Delivery.DELIVERED))
    second = log(tmp_path)
    assert second.order == {"number": 3, **MAIL.in_brief()}
    assert second.terminated_at == 5.0
    second.begin(Mail(number=9, key="other"), by="reaper")
    second.finish(Ending(outcome=Outcome.GONE), at=6.0)
    kept = json.loads(AttemptFiles(root=tmp_path).kill.read_text())
    assert kept["order"]["number"] == 3
    assert (kept["by"], kept["outcome"], len(kept["rungs"])) == ("reaper", "gone", 1)


def test_a_refused_order_is_noted_and_is_no_ladder(tmp_path: Path) -> None:
    refusing = log(tmp_path)
    refusing.took(MAIL, at=5.0, result="refused: it means process 3")
    refusing.flush()
    kept = json.loads(AttemptFiles(root=tmp_path).kill.read_text())
    assert kept["order"] is None
    assert kept["orders"][0]["result"].startswith("refused")


def test_a_disk_that_takes_nothing_does_not_stop_the_ladder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = log(tmp_path / "gone")
    missing.begin(MAIL, by="shim")
    missing.rung(Rung(name="term", at=5.0, result=Delivery.DELIVERED))
    assert missing.terminated_at == 5.0
    assert "could not be written" in capfd.readouterr().err


def test_a_broken_log_does_not_stop_the_next_ladder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    AttemptFiles(root=tmp_path).kill.write_text("{")
    assert log(tmp_path).order is None
    assert "started afresh" in capfd.readouterr().err
