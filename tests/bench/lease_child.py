"""The Ray side of the lease benchmark: ``python -m tests.bench.lease_child HOME RESULT MORE``.

A process like the real Ray link, with its environment, that calls what the link calls: RayLeaser, and
a host through its supervisor actor. It writes the samples, in seconds, to the file RESULT, MORE times as many as usual.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path

from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.port import Host, Launch
from campaign.leaser_ray import RayLeaser
from campaign.ray_link import Plane, connect
from specs.files import AttemptFiles
from tests.bench.lease import AGAIN, IDLE, RELEASE, WITHOUT, Case
from tests.bench.stage import await_that, orderly, undisturbed

ROUNDS = 16
_WARM_UP = 1


def main(home_root: str, result: str, more: str) -> None:
    with orderly():
        try:
            samples = _measured(Home.locate(home_root), ROUNDS * int(more))
        finally:
            _end_ray()
    Path(result).write_text(json.dumps(samples))


def _end_ray() -> None:
    """Also a head that is only coming up, and is on no record yet: it is our child."""
    with undisturbed():
        for process in identity.descendants([os.getpid()]):
            identity.send(process, signal.SIGKILL)


def _measured(home: Home, rounds: int) -> dict[str, list[float]]:
    connect(home, None, None)
    name, host = next(iter(Plane(home, None).new_hosts().items()))
    device = next(d.id for d in host.describe().devices.devices if d.id.startswith("cpu:"))
    samples: dict[str, list[float]] = {}
    # A B B A: the first B finds a device that no group has held for a whole run
    for turn, case in enumerate((None, IDLE, AGAIN, None) * (rounds + _WARM_UP)):
        launch = _launch(home, device, turn)
        taken = (
            {WITHOUT: _start(host, launch)} if case is None else _leased(host, name, launch, case)
        )
        if turn >= 4 * _WARM_UP:
            for what, seconds in taken.items():
                samples.setdefault(what, []).append(seconds)
    return samples


def _start(host: Host, launch: Launch) -> float:
    """Until the host says that it is on record; returns when the run is over."""
    began = time.perf_counter()
    host.start(launch)
    taken = time.perf_counter() - began
    exit_file = AttemptFiles(root=Path(launch.directory)).exit
    await_that(f"{exit_file} is written", exit_file.exists, every=0.002)
    return taken


def _leased(host: Host, name: str, launch: Launch, case: Case) -> dict[str, float]:
    leaser = RayLeaser()
    began = time.perf_counter()
    leaser.lease(launch.directory, name, launch.devices)
    lease = time.perf_counter() - began
    start = _start(host, launch)
    began = time.perf_counter()
    leaser.release(launch.directory)
    released = time.perf_counter() - began
    return {case.lease: lease, case.start: lease + start, RELEASE: released}


def _launch(home: Home, device: str, number: int) -> Launch:
    return Launch(
        directory=str(home.attempt("lease", "only", number + 1)),
        campaign="lease",
        run="only",
        attempt=number + 1,
        cookie=secrets.token_hex(16),
        argv=("true",),
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        devices=(device,),
        spec={"start": {"kind": "scratch"}},
        grace=1.0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
