"""Further Ray nodes on this machine, each with a label ``host`` that makes it a host of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from campaign import ray_head
from campaign.home import Home
from campaign.hosts import identity
from campaign.hosts.identity import Identity
from tests.support.hosts import until

RAYLET = "raylet"
SLOTS = 2
JOIN_DEADLINE = 60.0


class Node:
    """A node that joined a cluster; it is ended process by process, never by a name."""

    def __init__(self, child: subprocess.Popen[bytes], log: Path) -> None:
        self._child = child
        self._log = log
        self._known: set[Identity] = set()

    def processes(self) -> set[Identity]:
        """Every process that the node has or had, its workers among them."""
        alive = [self._child.pid, *(p.pid for p in self._known if identity.is_alive(p))]
        for pid in alive:
            try:
                tree = [pid, *(p.pid for p in psutil.Process(pid).children(recursive=True))]
            except psutil.NoSuchProcess:
                continue
            self._known |= {found for p in tree if (found := identity.of(p)) is not None}
        return self._known

    def raylet(self) -> Identity:
        def found() -> Identity | None:
            assert self._child.poll() is None, self._log.read_text()
            for process in self.processes():
                if identity.is_alive(process) and psutil.Process(process.pid).name() == RAYLET:
                    return process
            return None

        known = until(found, "the node has a raylet", JOIN_DEADLINE)
        assert isinstance(known, Identity)
        return known

    def kill(self) -> None:
        """SIGKILL its raylet; the rest of the node ends because of it."""
        raylet = self.raylet()
        self.processes()
        identity.send(raylet, signal.SIGKILL)
        assert identity.wait_gone(raylet, 10.0)
        self._child.wait(timeout=JOIN_DEADLINE)

    def end(self) -> None:
        for process in self.processes():
            identity.send(process, signal.SIGKILL)
        self._child.wait(timeout=JOIN_DEADLINE)


@contextmanager
def joined(
    home: Home,
    address: str,
    host: str,
    *,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Node]:
    """A node called ``host`` of the cluster at ``address``, whose token is that of ``home``."""
    resources = {f"cpu:{host}:{slot}": 1 for slot in range(SLOTS)}
    argv = [
        sys.executable, "-P", "-m", "ray.scripts.scripts", "start", f"--address={address}",
        "--block", "--include-log-monitor=false", "--disable-usage-stats", "--num-gpus=0",
        "--num-cpus=1", f"--object-store-memory={80 * 2**20}", f"--labels=host={host}",
        "--dashboard-agent-listen-port=0", f"--resources={json.dumps(resources)}",
    ]  # fmt: skip
    log = home.root / f"node-{host}.log"
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**ray_head.environment(home), **(environment or {})},
            start_new_session=True,
        )
    node = Node(child, log)
    try:
        node.raylet()
        yield node
    finally:
        node.end()
