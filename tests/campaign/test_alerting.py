"""Laws of what people are told: everything once, and nothing twice in other words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from campaign import events as e
from campaign.alerting import News, sinks_of, try_sinks
from campaign.home import Home
from campaign.records import Quarantine
from campaign.store import Store
from tests.campaign.worlds import World, spec, verdict


class Told:
    """A world whose every decision is committed, and what is new of it."""

    def __init__(self, home: Home) -> None:
        home.create()
        self.store = Store(home.store)
        self.world = World()
        self.news = News(home.store)
        self.tell(e.HostSeen(facts=next(iter(self.world.state.hosts.values())).facts))

    def tell(self, event: e.Event) -> None:
        self.keep(self.world.tell(event), type(event).__name__)

    def keep(self, decision: Any, kind: str = "Observed") -> None:
        self.store.commit(decision.records, decision.notes, self.world.now, kind=kind)

    def submit(self, **runs: Any) -> None:
        from tests.campaign.worlds import campaign

        self.tell(e.Submitted(campaign=campaign(), runs=runs))
        self.keep(self.world.tick())

    def titles(self) -> list[str]:
        return [alert.title for alert in self.news.fresh()]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "runs")


@pytest.fixture
def told(home: Home) -> Told:
    return Told(home)


def alert_line(key: str, t: float = 5.0) -> dict[str, Any]:
    return {"kind": "alert", "key": key, "t": t, "rule": "goal", "action": "alert", "reason": "r"}


def test_a_home_without_a_store_has_nothing_to_tell(home: Home) -> None:
    assert News(home.store).fresh() == []


def test_an_alert_names_attempt_rule_action_and_reason_and_comes_once(told: Told) -> None:
    told.submit(a=spec())
    told.keep(told.world.see("a", watch=(alert_line("k"),)))
    (alert,) = told.news.fresh()
    assert (alert.title, alert.text, alert.t) == ("c/a/attempt-1: goal (alert)", "r", 5.0)
    assert alert.group == "c"
    told.keep(told.world.see("a", watch=(alert_line("k"), alert_line("l"))))
    assert len(told.news.fresh()) == 1
    assert told.news.fresh() == []


def test_the_same_alert_of_another_life_of_the_home_is_another(told: Told, home: Home) -> None:
    told.submit(a=spec())
    told.keep(told.world.see("a", watch=(alert_line("k", t=5.0),)))
    (one,) = told.news.fresh()
    told.store.close()
    for path in home.root.glob("campaign.db*"):
        path.unlink()
    later = Told(home)
    later.submit(a=spec())
    later.keep(later.world.see("a", watch=(alert_line("k", t=6.0),)))
    (other,) = later.news.fresh()
    assert one.key != other.key


def test_a_kill_is_told_by_its_verdict_and_not_again_by_the_end_of_the_run(told: Told) -> None:
    told.submit(a=spec())
    line = verdict("kill", onset=1, end=3)
    order = {"by": "watcher", "rule": "blow_up", "reason": line["reason"]}
    told.keep(told.world.exits("a", None, watch=(line,), order=order))
    assert told.world.run("a").status.status == "done"
    assert told.titles() == ["c/a/attempt-1: blow_up (kill)"]


def test_a_run_that_fails_for_good_is_told_and_one_that_succeeds_or_is_cancelled_is_not(
    told: Told,
) -> None:
    told.submit(a=spec(retry={"crashes": 0}), b=spec())
    told.keep(told.world.exits("a", 3))
    told.keep(told.world.exits("b", 0))
    told.submit()
    assert told.titles() == ["c/a is over: failed"]


def test_a_host_that_does_not_answer_and_a_device_in_quarantine_are_told(told: Told) -> None:
    told.tell(e.HostLost(host="h", reason="no route"))
    told.store.commit([Quarantine(device="GPU-1", since=1.0, reason="held")], ("n",), 1.0, kind="t")
    alerts = {alert.title: alert.text for alert in told.news.fresh()}
    assert "no route" in alerts["host lost"]
    assert "held" in alerts["GPU-1 is quarantined"]


def test_a_test_message_says_of_each_sink_whether_it_took_it_and_shows_no_secret(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.create()
    monkeypatch.delenv("CANARY_URL", raising=False)
    loose = tmp_path / "loose"
    loose.write_text("json://canary-9f3a/")
    loose.chmod(0o644)
    sinks = sinks_of(home, desktop=False, urls=["env:CANARY_URL", f"file:{loose}"])
    tests = try_sinks(sinks)
    assert [t.ok for t in tests] == [True, True, False, False]
    assert "a test" in home.alerts_log.read_text()
    assert "a test" in home.controller_log.read_text()
    assert "CANARY_URL is not set" in tests[2].detail
    assert "0644" in tests[3].detail
    assert "canary-9f3a" not in str(tests)
