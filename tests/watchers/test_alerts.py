from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchers.alerts import (
    GIVE_UP_AFTER,
    LIMIT_SECONDS,
    Alert,
    SentLog,
    SinkFailed,
    deliver,
    pack,
)


@dataclass
class Listener:
    """A sink that keeps what it is sent, or refuses."""

    name: str = "listener"
    limit: int | None = None
    broken: bool = False
    heard: list[str] = field(default_factory=list)
    tried: int = 0

    def send(self, alert: Alert) -> None:
        self.tried += 1
        if self.broken:
            raise SinkFailed("nobody there")
        self.heard.append(alert.key)


def alerts(*keys: str, t: float = 0.0, group: str = "") -> list[Alert]:
    return [
        Alert(key=key, t=t, title=f"title {key}", text=f"text {key}", group=group) for key in keys
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts-sent.jsonl"


def test_every_sink_gets_every_alert_once(path: Path) -> None:
    one, other = Listener(name="one"), Listener(name="other")
    for keys in (["a", "b", "a"], ["a", "b", "c"]):
        deliver(alerts(*keys), [one, other], SentLog(path), now=0.0)
    assert one.heard == other.heard == ["a", "b", "c"]


def test_after_a_crash_nothing_is_sent_twice(path: Path) -> None:
    deliver(alerts("a"), [Listener()], SentLog(path), now=0.0)
    again = Listener()
    deliver(alerts("a", "b"), [again], SentLog(path), now=0.0)
    assert again.heard == ["b"]


def test_a_crash_between_sending_and_noting_sends_again(path: Path) -> None:
    sink = Listener()
    deliver(alerts("a"), [sink], SentLog(path), now=0.0)
    path.write_bytes(path.read_bytes()[:-5])
    deliver(alerts("a"), [sink], SentLog(path), now=0.0)
    assert sink.heard == ["a", "a"]


def test_a_sink_that_fails_holds_up_no_other_and_gets_the_alert_later(path: Path) -> None:
    broken, sound = Listener(name="broken", broken=True), Listener(name="sound")
    sent = SentLog(path)
    outcome = deliver(alerts("a"), [broken, sound], sent, now=0.0)
    assert (outcome.failed, outcome.waiting) == (
        {"broken": "nobody there"},
        {"broken": 1, "sound": 0},
    )
    broken.broken = False
    deliver(alerts("a"), [broken, sound], sent, now=100.0)
    assert broken.heard == sound.heard == ["a"]


def test_a_failing_sink_is_left_alone_for_longer_and_longer(path: Path) -> None:
    sink, sent = Listener(broken=True), SentLog(path)
    for second in range(100):
        deliver(alerts("a"), [sink], sent, now=float(second))
    assert sink.tried == 5  # at 0, 5, 15, 35, 75


def test_what_was_not_taken_for_a_day_of_trying_is_given_up_and_noted(path: Path) -> None:
    sink, sent = Listener(broken=True), SentLog(path)
    deliver(alerts("a"), [sink], sent, now=0.0)
    outcome = deliver(alerts("a"), [sink], sent, now=GIVE_UP_AFTER + 1)
    assert (outcome.given_up, outcome.sent) == ({"listener": 1}, {"listener": 0})
    assert b'"given_up"' in path.read_bytes()
    assert SentLog(path).has("listener", "a")


def test_an_old_alert_is_not_given_up_at_the_first_failure(path: Path) -> None:
    sink, sent = Listener(broken=True), SentLog(path)
    outcome = deliver(alerts("a"), [sink], sent, now=3 * GIVE_UP_AFTER)
    assert (outcome.given_up, outcome.waiting) == ({"listener": 0}, {"listener": 1})


def test_a_new_sink_is_not_told_what_lies_before_its_beginning(path: Path) -> None:
    for since in (5.0, 50.0):  # what was said first holds
        SentLog(path).begin("listener", since=since)
    sink = Listener()
    deliver([*alerts("old", t=4.0), *alerts("new", t=5.0)], [sink], SentLog(path), now=60.0)
    assert sink.heard == ["new"]


def test_what_was_sent_and_could_not_be_noted_is_not_sent_again_and_noted_later(
    tmp_path: Path,
) -> None:
    sink, sent = Listener(), SentLog(tmp_path / "missing" / "sent.jsonl")
    for now in (0.0, 1.0):
        deliver(alerts("a"), [sink], sent, now=now)
    assert sink.heard == ["a"]
    assert "cannot be written" in (sent.problem or "")
    (tmp_path / "missing").mkdir()
    deliver(alerts("a", "b"), [sink], sent, now=2.0)
    assert sent.problem is None
    again = SentLog(tmp_path / "missing" / "sent.jsonl")
    assert again.has("listener", "a")
    assert again.has("listener", "b")


def test_more_alerts_than_the_limit_come_as_one_digest(path: Path) -> None:
    sink, sent = Listener(limit=3), SentLog(path)
    keys = [f"k{number}" for number in range(20)]
    deliver(alerts(*keys), [sink], sent, now=0.0)
    assert sink.heard == ["k0", "k1", "digest:k2"]
    deliver(alerts(*keys, "late"), [sink], sent, now=1.0)
    assert len(sink.heard) == 3
    deliver(alerts(*keys, "late"), [sink], SentLog(path), now=LIMIT_SECONDS + 1)
    assert sink.heard[3:] == ["late"]


@given(st.lists(st.text(max_size=3), unique=True, max_size=12), st.integers(-1, 6))
def test_packing_covers_every_alert_or_none_and_keeps_the_limit(keys: list[str], room: int) -> None:
    packed = pack(alerts(*keys), room)
    assert len(packed) <= max(room, 0)
    covered = [key for _, keys_of in packed for key in keys_of]
    assert covered == (keys if room > 0 else [])


def test_a_storm_of_one_campaign_hides_no_other(path: Path) -> None:
    sink, sent = Listener(limit=4), SentLog(path)
    storm = alerts(*[f"s{number}" for number in range(50)], group="storm")
    calm = alerts("calm", group="calm")
    deliver([*storm, *calm], [sink], sent, now=0.0)
    assert sink.heard == ["s0", "s1", "digest:s2", "calm"]


grouped = st.lists(st.tuples(st.text(max_size=2), st.integers(0, 3)), unique=True, max_size=15)


@given(grouped, st.integers(1, 8))
def test_every_group_has_a_message_of_its_own_while_there_is_room_for_that(
    keys: list[tuple[str, int]], room: int
) -> None:
    given_ = [a for key, group in keys for a in alerts(f"{key}{group}", group=str(group))]
    packed = pack(given_, room)
    assert len(packed) <= room
    assert sorted(key for _, covered in packed for key in covered) == sorted(a.key for a in given_)
    groups = {alert.key: alert.group for alert in given_}
    if len(set(groups.values())) <= room:
        assert all(len({groups[key] for key in covered}) == 1 for _, covered in packed)
