from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from specs.files import write_json
from watchers.bad_line import FORM

NAN = float("nan")
BLOW_UP = {100: 2.0, 200: 2.1, 300: 3.0, 400: 3.5}
CERTIFY = {"evaluations": 1}


@pytest.fixture
def attempt(tmp_path: Path, build: Any) -> Any:
    return build.Attempt(root=tmp_path / "attempt-1", certify=CERTIFY)


@pytest.fixture
def watcher(build: Any, killer: Any, clock: Any, attempt: Any) -> Any:
    return build.watcher(killer, clock, attempt)


def test_a_divergence_is_written_down_and_ordered(
    attempt: Any, watcher: Any, killer: Any, clock: Any
) -> None:
    attempt.curve("val/ce", BLOW_UP)
    clock.forward(400.25)
    watcher.poll()
    [line] = attempt.of("verdict")
    assert line == {
        "t": clock.wall,
        "kind": "verdict",
        "key": "rule:blow_up:val/ce:400",
        "rule": "blow_up",
        "action": "rollback",
        "metric": "val/ce",
        "step": 400,
        "value": 3.5,
        "reason": "val/ce was above its best 2 (step 100) by more than 0.5 for 2 points in a row: "
        "3 at step 300, 3.5 at step 400",
        "onset": 100,
        "end": 400,
        "checkpoint_step": None,
        "evidence": {
            "best": 2.0,
            "best_step": 100,
            "above_best_by": 0.5,
            "for_points": 2,
            "points": [[300, 3.0], [400, 3.5]],
        },
        "latency_s": 0.25,
    }
    [order] = killer.orders
    assert order == {
        "key": line["key"],
        "action": "stop",
        "reason": line["reason"],
        "rule": "blow_up",
        "grace": None,
        "evidence": line["evidence"],
    }


def test_the_verdict_is_on_the_disk_before_the_killer_is_called(
    attempt: Any, killer: Any, clock: Any, build: Any
) -> None:
    synced: list[int] = []
    killer.on_call = lambda directory: synced.append(len(attempt.of("verdict")))
    fsync = lambda fd: synced.append(-1)  # noqa: E731
    watcher = build.watcher(killer, clock, attempt, fsync=fsync)
    attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    assert synced == [-1, 1]


def test_a_checkpoint_verdict_asks_for_a_checkpoint_and_the_attempt_goes_on(
    tmp_path: Path, build: Any, killer: Any, clock: Any
) -> None:
    save = {"name": "save", "rule": "threshold", "metric": "x", "below": 1, "action": "checkpoint"}
    attempt = build.Attempt(root=tmp_path / "a", watch=[save, build.divergence])
    attempt.log(1, {"x": 0.5})
    attempt.curve("val/ce", BLOW_UP)
    build.watcher(killer, clock, attempt).poll()
    assert [(o["action"], o["rule"]) for o in killer.orders] == [
        ("checkpoint", "save"),
        ("stop", "blow_up"),
    ]


def test_certificates_are_written_and_taken_back(attempt: Any, watcher: Any) -> None:
    for step in (50, 150):
        attempt.checkpoint(step, {"residual/T1": 0.001, "re_mu": "NaN"})
    attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    assert [(line["kind"], line["checkpoint_step"], line["step"]) for line in attempt.lines()] == [
        ("certified", 50, 100),
        ("certified", 150, 200),
        ("verdict", None, 400),
        ("revoked", 150, 400),
    ]
    certified, _, verdict, revoked = attempt.lines()
    assert certified["evidence"] == {
        "finite": True,
        "metrics": {"residual/T1": 0.001, "re_mu": "NaN"},
    }
    assert (revoked["rule"], revoked["onset"], revoked["end"]) == ("blow_up", 100, 400)
    assert verdict["reason"] in revoked["reason"]


def test_a_checkpoint_written_after_the_kill_is_quarantined(
    attempt: Any, watcher: Any, build: Any
) -> None:
    attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    attempt.checkpoint(413)
    attempt.leave()
    build.drain(watcher)
    assert [(line["kind"], line["checkpoint_step"]) for line in attempt.lines()][-2:] == [
        ("quarantined", 413),
        ("closed", None),
    ]


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (None, "it has no evidence"),
        ("{torn", "is not readable"),
        ("[]", "is not readable"),
        ('{"metrics": {}}', "is no evidence"),
        ('{"finite": "yes"}', "`finite` is 'yes'"),
        ('{"finite": true, "metrics": {"a": null}}', "None is no number"),
    ],
)
def test_a_checkpoint_without_readable_evidence_is_never_certified_and_says_why(
    attempt: Any, watcher: Any, write: str | None, says: str
) -> None:
    attempt.checkpoint(50)
    path = attempt.files.checkpoint(50) / "evidence.json"
    path.unlink() if write is None else path.write_text(write)
    attempt.curve("val/ce", {100: 2.0, 200: 2.0, 300: 2.0})
    watcher.poll()
    assert attempt.lines() == []
    progress = json.loads(attempt.files.progress.read_text())
    assert says in progress["checkpoints"]["50"]["reason"]


def test_an_incomplete_checkpoint_is_noticed_once_it_is_complete(
    attempt: Any, watcher: Any, clock: Any
) -> None:
    attempt.checkpoint(50)
    manifest = attempt.files.checkpoint(50) / "manifest.json"
    manifest.rename(manifest.with_name("later"))
    attempt.curve("val/ce", {100: 2.0, 200: 2.0})
    watcher.poll()
    assert attempt.lines() == []
    manifest.with_name("later").rename(manifest)
    clock.forward(1.5)
    watcher.poll()
    assert [line["kind"] for line in attempt.lines()] == ["certified"]


def test_closed_is_written_once_and_only_after_the_trainer_has_left_and_all_is_judged(
    attempt: Any, watcher: Any, build: Any, killer: Any, clock: Any
) -> None:
    attempt.curve("val/ce", {100: 2.0, 200: 2.1})
    attempt.log(200, {"val/ce": 2.1})
    watcher.poll()
    assert attempt.of("closed") == []
    attempt.log(300, {"val/ce": 2.2, "x": 1.0})
    attempt.write(b'{"t": 9, "step": 400, "m"')
    attempt.leave()
    for again in (watcher, watcher, build.watcher(killer, clock, attempt)):
        build.drain(again)
    [closed] = attempt.of("closed")
    assert (closed["points"], closed["last_step"], closed["key"]) == (4, 300, "closed")
    assert attempt.lines()[-1]["kind"] == "closed"


def test_an_attempt_that_never_wrote_a_metric_is_closed_too(
    attempt: Any, watcher: Any, build: Any
) -> None:
    attempt.leave()
    build.drain(watcher)
    [closed] = attempt.of("closed")
    assert (closed["points"], closed["last_step"]) == (0, None)


def test_an_order_that_was_not_given_is_given_by_the_next_watcher(
    attempt: Any, watcher: Any, build: Any, killer: Any, clock: Any
) -> None:
    killer.refusals = 1
    attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    assert (len(attempt.of("verdict")), killer.orders) == (1, [])
    build.watcher(killer, clock, attempt).poll()
    build.watcher(killer, clock, attempt).poll()
    assert [order["key"] for order in killer.orders] == ["rule:blow_up:val/ce:400"]
    assert len(attempt.of("verdict")) == 1


def test_an_order_is_not_given_again_to_a_trainer_that_has_left(
    attempt: Any, watcher: Any, build: Any, killer: Any, clock: Any
) -> None:
    killer.refusals = 1
    attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    attempt.leave()
    build.drain(build.watcher(killer, clock, attempt))
    assert killer.orders == []


def test_a_killer_that_fails_is_asked_again_by_the_same_watcher(
    attempt: Any, watcher: Any, killer: Any, clock: Any
) -> None:
    killer.refusals = 3
    attempt.curve("val/ce", BLOW_UP)
    for _ in range(8):
        watcher.poll()
        clock.forward(11)
    assert len(killer.orders) == 1
    [alert] = attempt.of("alert")
    assert "No space left on device" in alert["reason"]


def test_one_broken_attempt_does_not_disturb_the_others_and_is_said_once(
    tmp_path: Path, build: Any, killer: Any, clock: Any, caplog: Any
) -> None:
    broken = build.Attempt(root=tmp_path / "broken")
    broken.files.spec.write_text("{}")
    sound = build.Attempt(root=tmp_path / "sound")
    watcher = build.watcher(killer, clock, broken, sound)
    sound.curve("val/ce", BLOW_UP)
    for _ in range(10):
        watcher.poll()
        clock.forward(11)
    assert len(killer.orders) == 1
    [alert] = broken.of("alert")
    assert "has no `spec`" in alert["reason"]
    assert caplog.text.count("has no `spec`") == 1


def test_a_broken_attempt_is_watched_once_it_is_repaired(
    tmp_path: Path, build: Any, killer: Any, clock: Any
) -> None:
    attempt = build.Attempt(root=tmp_path / "a")
    spec = attempt.files.spec.read_bytes()
    attempt.files.spec.unlink()
    watcher = build.watcher(killer, clock, attempt)
    attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    attempt.files.spec.write_bytes(spec)
    clock.forward(11)
    watcher.poll()
    assert len(killer.orders) == 1
    assert attempt.of("alert") == []


def test_a_full_disk_is_an_alert_once_there_is_room_and_nothing_is_lost(
    attempt: Any, watcher: Any, killer: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    attempt.curve("val/ce", BLOW_UP)
    monkeypatch.setattr(os, "write", full)
    for _ in range(4):
        watcher.poll()
        clock.forward(11)
    assert (attempt.lines(), killer.orders) == ([], [])
    monkeypatch.undo()
    watcher.poll()
    assert len(killer.orders) == 1
    assert [line["kind"] for line in attempt.lines()] == ["verdict", "alert"]


@pytest.mark.parametrize("alive", [True, None, False])
def test_silence_kills_only_a_trainer_that_is_known_to_be_alive(
    tmp_path: Path, build: Any, killer: Any, clock: Any, alive: bool | None
) -> None:
    quiet = {"name": "quiet", "rule": "silence", "for_seconds": 60, "action": "kill"}
    attempt = build.Attempt(root=tmp_path / "a", watch=[quiet])
    watcher = build.watcher(killer, clock, attempt, alive=lambda directory: alive)
    for _ in range(70):
        watcher.poll()
        clock.forward(2)
    assert [line["kind"] for line in attempt.lines()] == {
        True: ["verdict"],
        None: ["alert"],
        False: [],
    }[alive]
    assert len(killer.orders) == (alive is True)


def test_a_jump_of_the_wall_clock_is_no_silence(
    tmp_path: Path, build: Any, killer: Any, clock: Any
) -> None:
    quiet = {"name": "quiet", "rule": "silence", "for_seconds": 60, "action": "kill"}
    attempt = build.Attempt(root=tmp_path / "a", watch=[quiet])
    watcher = build.watcher(killer, clock, attempt, alive=lambda directory: True)
    attempt.log(1, {"x": 1.0})
    watcher.poll()
    clock.wall += 365 * 86400
    clock.steady += 59
    watcher.poll()
    assert attempt.lines() == []


def test_a_replaced_metrics_file_is_judged_anew_and_nothing_is_said_twice(
    attempt: Any, watcher: Any, killer: Any
) -> None:
    attempt.checkpoint(50)
    attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    said = attempt.lines()
    data = attempt.files.metrics.read_bytes()
    attempt.files.metrics.unlink()
    attempt.write(data + data)
    watcher.poll()
    assert (attempt.lines(), len(killer.orders)) == (said, 1)


def test_of_a_replaced_metrics_file_the_old_points_are_forgotten(
    attempt: Any, watcher: Any, clock: Any
) -> None:
    attempt.curve("val/ce", {100: 2.0})
    watcher.poll()
    attempt.files.metrics.unlink()
    attempt.curve("val/ce", {200: 3.0, 300: 3.0})
    clock.forward(2)
    watcher.poll()
    assert attempt.lines() == []
    assert json.loads(attempt.files.progress.read_text())["points"] == 2


def test_a_line_that_is_no_metric_line_is_an_alert_once(attempt: Any, watcher: Any) -> None:
    for _ in range(3):
        attempt.write(b"loss 3.2\n")
        watcher.poll()
    [alert] = attempt.of("alert")
    assert alert["reason"] == (
        "metrics.jsonl, line 1: no metric line: b'loss 3.2' is no JSON; "
        f"needed: {FORM}; such lines are left out"
    )


def test_progress_has_the_latest_and_the_lowest_value_of_every_metric(
    attempt: Any, watcher: Any, clock: Any
) -> None:
    attempt.log(1, {"val/ce": 2.0})
    attempt.log(2, {"val/ce": 1.0, "b": -1.0})
    attempt.log(3, {"val/ce": NAN})
    attempt.checkpoint(2)
    watcher.poll()
    progress = json.loads(attempt.files.progress.read_text())
    assert progress == {
        "t": clock.wall,
        "step": 3,
        "phase": None,
        "latest": {"val/ce": {"step": 3, "value": "NaN"}, "b": {"step": 2, "value": -1.0}},
        "best": {"val/ce": {"step": 2, "value": 1.0}, "b": {"step": 2, "value": -1.0}},
        "steps_per_s": 1.0,
        "points": 4,
        "checkpoints": {
            "2": {
                "standing": "complete",
                "reason": "needs 1 more healthy evaluation after step 2",
            }
        },
    }


def test_progress_is_replaced_once_a_second_at_most_and_always_at_the_end(
    attempt: Any, watcher: Any, clock: Any
) -> None:
    def step() -> Any:
        return json.loads(attempt.files.progress.read_text())["step"]

    seen = []
    for number in range(1, 5):
        attempt.log(number, {"a": 1.0})
        watcher.poll()
        seen.append(step())
        clock.forward(0.4)
    attempt.log(9, {"a": 1.0})
    attempt.leave()
    watcher.poll()
    assert (seen, step()) == ([1, 1, 1, 4], 9)


def test_attempts_no_longer_wanted_are_let_go_and_the_others_kept(
    tmp_path: Path, build: Any, killer: Any, clock: Any
) -> None:
    one, other = (build.Attempt(root=tmp_path / name) for name in ("one", "other"))
    watcher = build.watcher(killer, clock, one, other)
    watcher.sync([one.root])
    watcher.sync([one.root])
    for attempt in (one, other):
        attempt.curve("val/ce", BLOW_UP)
    watcher.poll()
    assert (len(one.of("verdict")), len(other.of("verdict"))) == (1, 0)


def test_rules_are_read_from_a_dump_that_names_every_default(
    tmp_path: Path, build: Any, killer: Any, clock: Any
) -> None:
    from specs.run import RunSpec

    trainer = {"kind": "command", "argv": ["true"]}
    rule = {"rule": "threshold", "metric": "val/ce", "below": 3, "action": "alert"}
    spec = RunSpec.model_validate({"trainer": trainer, "watch": [rule]})
    attempt = build.Attempt(root=tmp_path / "a")
    write_json(attempt.files.spec, {"spec": spec.model_dump(mode="json")})
    attempt.curve("val/ce", {1: 2.0})
    build.watcher(killer, clock, attempt).poll()
    assert [line["rule"] for line in attempt.of("alert")] == ["threshold.val.ce"]
