from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from campaign.hosts import release
from campaign.hosts.ladder import Ending, Outcome
from campaign.hosts.records import LaunchRecord

GIB = 2**30
GPU = "GPU-1"
OURS = {"pid": 5, "uid": 1, "user": "me", "name": "python", "memory_bytes": GIB}
FOREIGN = {"pid": 9, "uid": 2, "user": "bob", "name": "python", "memory_bytes": GIB}
UNSEEN = {"pid": 7, "uid": None, "memory_bytes": GIB}


def report(**device: Any) -> dict[str, Any]:
    known = {"id": GPU, "memory_used": 0, "processes": []}
    return {"probe": "real", "devices": [{**known, **device}]}


UNKNOWN = {"probe": "unknown", "devices": [], "problem": "NVML hung"}


@dataclass
class Clock:
    time: float = 0.0

    def monotonic(self) -> float:
        return self.time

    def unix(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


def launched() -> LaunchRecord:
    return LaunchRecord(
        campaign="c",
        run="r",
        attempt=1,
        host="h",
        cookie="0" * 32,
        argv=("true",),
        cwd="/",
        env={},
        devices=(GPU,),
        locks={},
        socket="",
        grace=0.0,
        probe_argv=("probe",),
    )


def ask(*reports: dict[str, Any], baseline: int = 0) -> dict[str, Any]:
    """await_release with these answers in turn, the last one from then on."""
    answers = list(reports)
    return release.await_release(
        [GPU],
        baseline={GPU: baseline},
        ours=lambda pid: pid == OURS["pid"],
        probe=lambda: answers.pop(0) if len(answers) > 1 else answers[0],
        clock=Clock(),
    )


@pytest.mark.parametrize(
    "last",
    [
        report(),
        report(memory_used=release.SLACK),
        report(memory_used=GIB, processes=[FOREIGN]),
    ],
    ids=["empty", "within the slack", "only other people's memory"],
)
def test_a_gpu_is_released_when_nothing_of_ours_is_on_it(last: dict[str, Any]) -> None:
    result = ask(report(memory_used=GIB, processes=[OURS]), last)
    assert (result["ok"], result["detail"]) == (True, "")
    assert result["seconds"] > 0


def test_what_was_in_use_before_the_start_is_not_held_against_us() -> None:
    assert ask(report(memory_used=GIB), baseline=GIB)["ok"]


@pytest.mark.parametrize(
    ("stays", "detail"),
    [
        (report(memory_used=GIB, processes=[OURS]), "held by process 5 (python) of user me"),
        (report(memory_used=GIB, processes=[UNSEEN]), "held by process 7 of a user unknown here"),
        (report(memory_used=GIB), "1024 MiB more in use than before the start"),
        (UNKNOWN, "NVML hung"),
        (report(id="GPU-2"), "is not on this host"),
        (report(problem="lost"), "lost"),
    ],
)
def test_a_gpu_that_is_not_given_back_in_a_minute_is_reported_with_the_reason(
    stays: dict[str, Any], detail: str
) -> None:
    result = ask(stays)
    assert not result["ok"]
    assert detail in result["detail"]
    assert release.RELEASE_TIMEOUT <= result["seconds"] < release.RELEASE_TIMEOUT + 1


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (report(), None),
        (report(memory_used=GIB), None),  # ghosts are for the etiquette to judge
        (report(processes=[FOREIGN]), "used by process 9 (python) of user bob, 1024 MiB"),
        (report(processes=[UNSEEN]), "used by process 7 of a user unknown here"),
        (report(processes=[OURS]), "used by process 5"),
        (UNKNOWN, "NVML hung"),
        (report(id="GPU-2"), "is not on this host"),
        (report(problem="ECC"), "ECC"),
    ],
)
def test_only_a_gpu_that_is_known_to_be_unused_is_taken(
    found: dict[str, Any], reason: str | None
) -> None:
    refusal = release.refusal(found, [GPU])
    assert refusal is None if reason is None else reason in str(refusal)


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import sys; sys.exit(1)", "code 1"),
        ("print('no json')", "gave no report"),
        ("print('[]')", "gave no report"),
        ("print('{}')", "gave no report"),
        ("", "gave no report"),
    ],
)
def test_a_probe_that_gives_no_report_is_unknown_and_never_free(program: str, problem: str) -> None:
    found = release.run_probe([sys.executable, "-I", "-S", "-c", program], {})
    assert found["probe"] == "unknown"
    assert problem in found["problem"]


def test_a_probe_that_cannot_be_started_is_unknown() -> None:
    assert release.run_probe(["/no/such/probe"], {})["probe"] == "unknown"


def test_a_probe_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "PROBE_TIMEOUT", 0.1)
    hang = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    assert "no answer" in release.run_probe(hang, {})["problem"]


def test_what_a_driver_prints_before_the_report_is_passed_over(tmp_path: Path) -> None:
    script = tmp_path / "probe.py"
    script.write_text(f"print('a warning')\nprint({json.dumps(report())!r})")
    assert release.run_probe([sys.executable, "-I", "-S", str(script)], {}) == report()


def test_nobody_is_asked_about_a_gpu_after_a_reboot() -> None:
    """It may be another GPU by now, and a probe that does not know it would be asked for a minute."""

    def never() -> dict[str, Any]:
        raise AssertionError("asked")

    freed = release.after(
        launched(),
        Ending(outcome=Outcome.GONE),
        leader=None,
        baseline={GPU: 0},
        probe=never,
        clock=Clock(),
        rebooted=True,
    )
    assert freed == {
        "ok": True,
        "seconds": 0.0,
        "detail": "not checked: the host was rebooted since",
    }
