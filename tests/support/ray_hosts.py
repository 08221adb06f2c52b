"""Hosts behind a real Ray actor, for the contract suite: the very Supervisor of the product."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from campaign import ray_head
from campaign.home import Home
from campaign.hosts.mirror_source import ENV_LOCAL_ROOT
from campaign.hosts.port import Host
from tests.support.hosts import HostFactory, apart, local_host, mirroring

ROOT = Path(__file__).parents[2]


@contextmanager
def ray_plane() -> Iterator[tuple[HostFactory, HostFactory]]:
    """A head of its own; yields factories of hosts whose every call goes through an actor: of those
    that share the home, and of those that do not.

    Ray reads its settings when it is imported, so this must be the first to import it.
    """
    with tempfile.TemporaryDirectory(prefix="ray") as directory:
        home = Home(root=Path(directory))
        environment = ray_head.environment(home)
        added = {k: v for k, v in environment.items() if k.startswith("RAY_")}
        os.environ.update(added)
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": directory}):
            head = ray_head.start(home, {})  # it outlives the directory of a single test
        try:
            yield _joined(head)
        finally:
            import ray

            ray.shutdown()
            ray_head.end(home, head)
            for name in added:
                del os.environ[name]


def _joined(head: ray_head.RayHead) -> tuple[HostFactory, HostFactory]:
    import ray

    from campaign.hosts.supervisor_ray import ACTOR_OPTIONS, RayHost

    ray.init(address=head.address, _temp_dir=head.temp_dir, log_to_driver=False, logging_level=40)

    def make(home: Path, name: str, report: Path | None, *, own_root: str = "") -> RayHost:
        environment = {
            "PYTHONPATH": str(ROOT),
            "XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"],
            ENV_LOCAL_ROOT: own_root,
        }
        actor: Any = ray.remote(**ACTOR_OPTIONS)(_supervisor())
        where: Mapping[str, Any] = {"runtime_env": {"env_vars": environment}}
        return RayHost(actor.options(**where).remote(home, name, report))

    def make_apart(home: Path, name: str, report: Path | None) -> Host:
        host = make(home, name, report, own_root=str(apart(home)))
        return mirroring(host, host, home, name)

    return make, make_apart


def _supervisor() -> type:
    """The product's Supervisor over the suite's host: only how the host is made differs."""
    from campaign.hosts.mirror_source import OwnFiles
    from campaign.hosts.supervisor_ray import Supervisor

    class OfTheSuite(Supervisor):
        def __init__(self, home: Path, name: str, report: Path | None) -> None:
            self._host = local_host(home, name, report)
            self._files = OwnFiles.of_this_host()

    return OfTheSuite
