"""Hosts under contract: each factory of HOSTS must pass the whole suite."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest

from tests.support.hosts import HostFactory, Stage, host_apart, local_host
from tests.support.ray_hosts import ray_plane

HOSTS = ["local", "apart", "ray", "ray apart"]
"""Apart: one that does not share the home."""


@pytest.fixture(scope="session")
def ray_factories() -> Iterator[tuple[HostFactory, HostFactory]]:
    with ray_plane() as factories:
        yield factories


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host-local directory of the test alone, short enough for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="rt") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name) / "campaign"


@pytest.fixture(params=HOSTS)
def stage(request: pytest.FixtureRequest, runtime: Path, tmp_path: Path) -> Iterator[Stage]:
    if request.param.startswith("ray") and "monkeypatch" in signature(request.function).parameters:
        pytest.skip("it plants a failpoint in this process's environment; the actor has its own")
    stage = Stage(_factory(request), tmp_path)
    yield stage
    stage.close()


def _factory(request: pytest.FixtureRequest) -> HostFactory:
    if not request.param.startswith("ray"):
        return host_apart if request.param == "apart" else local_host
    shared, apart = request.getfixturevalue("ray_factories")
    found: HostFactory = apart if request.param == "ray apart" else shared
    return found
