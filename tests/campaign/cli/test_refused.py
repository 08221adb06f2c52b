"""Law: a submit that the controller could not read does not look like one that succeeded."""

from __future__ import annotations

import json
from pathlib import Path

from campaign.alerting import News
from campaign.errors import ExitCode
from campaign.home import Home
from campaign.records import Alert
from campaign.store import Store
from tests.campaign.cli.conftest import Cli, campaign_file

WHY = "refused: request 1 (submit of c): this version of campaign cannot read it: a.colour: extra"


def test_waiting_for_a_refused_campaign_says_why_and_a_new_submit_is_taken(
    cli: Cli, tmp_path: Path
) -> None:
    cli("submit", campaign_file(tmp_path), "--no-start")
    home = Home(root=tmp_path / "runs")
    store = Store(home.store)
    (request,) = store.open_requests()
    alert = Alert(
        campaign="c", run="", attempt=0, key="request:1", at=1.0, rule="controller",
        action="alert", reason=WHY,
    )  # fmt: skip
    store.commit((alert,), (WHY,), 1.0, kind="RequestRefused", answer=(request.id, WHY))
    waited = cli("wait", "c")
    assert (waited.code, WHY in waited.err) == (ExitCode.WRONG_STATE, True)
    (news,) = [told for told in News(home.store).fresh() if told.text == WHY]
    assert (news.title, news.group) == ("c: controller (alert)", "c")
    told = json.loads(cli("alerts", "--json").out)["data"]
    assert [(row["campaign"], row["reason"]) for row in told] == [("c", WHY)]
    assert cli("submit", campaign_file(tmp_path), "--no-start").out == "submitted c: 1 run\n"


def test_a_waiting_submit_that_has_not_its_shape_hides_no_other(cli: Cli, tmp_path: Path) -> None:
    home = Home(root=tmp_path / "runs")
    home.create()
    store = Store(home.store)
    store.request("submit", {"campaign": {"name": "odd"}, "runs": 3}, 1.0)
    cli("submit", campaign_file(tmp_path), "--no-start")
    assert cli("ls", "c").code == ExitCode.OK
