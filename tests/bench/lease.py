"""What Ray's part of a lease costs: a placement group for each start, and the same start without one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from campaign import ray_head
from tests.bench.report import Result, Row
from tests.bench.stage import Stage

WITHOUT = "start of `true` by the supervisor, no lease"
RELEASE = "release"


@dataclass(frozen=True, kw_only=True)
class Case:
    """``lease``: Ray's part alone. ``start``: with the start that follows."""

    lease: str
    start: str


IDLE = Case(lease="lease of an idle device", start="the same start, idle device leased")
AGAIN = Case(lease="lease of a device just released", start="the same start, device just released")


def measure(stage: Stage) -> Result:
    client = stage.home("home")
    ray_head.make_token(client.home)
    found = stage.root / "lease.json"
    argv = [
        sys.executable,
        "-m",
        "tests.bench.lease_child",
        str(client.home.root),
        str(found),
        str(stage.more),
    ]
    stage.run(argv, env=ray_head.environment(client.home))
    samples: dict[str, list[float]] = json.loads(found.read_text())
    return Result(
        name="lease",
        title="the placement group of an attempt (RayLeaser), until its shim is on record",
        rows=tuple(
            Row(what=what, samples=tuple(seconds), against=None if what == WITHOUT else WITHOUT)
            for what, seconds in samples.items()
        ),
        notes=(
            "a queue leases a device just released: Ray counts it as free again with its node's next "
            "report, every 10 ms (ray_head.SETTINGS; every 100 ms by itself)",
        ),
    )
