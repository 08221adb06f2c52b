"""Homes as the conductor, the shim and trainers leave them, for the tests of the publisher."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specs.files import (
    SCHEMA,
    AttemptFiles,
    append_line,
    attempt_dir,
    digest_json,
    metric_line,
    write_json,
)

T0 = 1_700_000_000.0
CAMPAIGN = "ep_resreg"
SPEC: Mapping[str, Any] = {
    "trainer": {"kind": "ep", "resreg": 0.2, "jacreg": {"weight": 1e-4}, "name": None},
    "watch": [{"rule": "threshold", "metric": "val/ce", "below": 2.3}],
    "resources": {"gpus": 0, "exclude": []},
}
SCRATCH = {"kind": "scratch"}


def resume(attempt: int, step: int, run: str = "redx") -> dict[str, Any]:
    return {"kind": "resume", "campaign": CAMPAIGN, "run": run, "attempt": attempt, "step": step}


@dataclass
class FakeAttempt:
    """An attempt directory; ``started_at`` is T0 + 1000 for each attempt before it."""

    root: Path
    campaign: str
    run: str
    number: int
    start: Mapping[str, Any]
    content: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.files = AttemptFiles(root=self.root)
        self.root.mkdir(parents=True)
        self.started_at = T0 + 1000 * (self.number - 1)
        self.content = {
            "schema": SCHEMA,
            "campaign": self.campaign,
            "run": self.run,
            "attempt": self.number,
            "spec": dict(SPEC),
            "spec_hash": digest_json(SPEC),
            "start": dict(self.start),
            "parent_attempt": self.number - 1 or None,
            "git_commit": "0" * 40,
            "host": "here",
            "devices": ["cpu:0"],
            "submitted_at": T0,
        }
        write_json(self.files.spec, self.content)
        write_json(self.files.pid, {"started_at": self.started_at})

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.write(metric_line(self.started_at + step / 7, step, metrics))

    def write(self, data: bytes) -> None:
        with self.files.metrics.open("ab") as file:
            file.write(data)

    def started(self, facts: Mapping[str, Any]) -> None:
        """What its trainer says of itself."""
        append_line(self.files.events, {"t": T0, "event": "started", "facts": dict(facts)})

    def curve(self, steps: Iterable[int]) -> None:
        for step in steps:
            self.log(step, {"val/ce": 2 + math.exp(-step / 50), "residual/T1": 1 / (1 + step)})

    def leave(self, **record: Any) -> None:
        fields = {"exit_code": 0, "signal": None, "order": None, "failure_class": None}
        end = {"outcome": "exited", "ended_at": self.started_at + 500, **fields, **record}
        write_json(self.files.exit, end)


@dataclass(frozen=True)
class FakeHome:
    root: Path

    def attempt(
        self,
        number: int = 1,
        start: Mapping[str, Any] = SCRATCH,
        *,
        run: str = "redx",
        campaign: str = CAMPAIGN,
    ) -> FakeAttempt:
        where = attempt_dir(self.root, campaign, run, number)
        return FakeAttempt(root=where, campaign=campaign, run=run, number=number, start=start)
