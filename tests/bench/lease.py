"""What Ray's part of a lease costs: a placement group for each start, and the same start without one."""

from __future__ import annotations

import json
import sys

from campaign import ray_head
from tests.bench.report import Result, Row
from tests.bench.stage import Stage

WITHOUT = "start of `true` by the supervisor, no lease"
WITH = "lease, then the same start"
LEASE = "lease of one device"
RELEASE = "release"


def measure(stage: Stage) -> Result:
    client = stage.home("home")
    ray_head.make_token(client.home)
    found = stage.root / "lease.json"
    argv = [sys.executable, "-m", "tests.bench.lease_child", str(client.home.root), str(found)]
    stage.run(argv, env=ray_head.environment(client.home))
    samples: dict[str, list[float]] = json.loads(found.read_text())
    return Result(
        name="lease",
        title="the placement group of an attempt (RayLeaser), until its shim is on record",
        rows=tuple(
            Row(what=what, samples=tuple(seconds), against=None if what == WITHOUT else WITHOUT)
            for what, seconds in samples.items()
        ),
    )
