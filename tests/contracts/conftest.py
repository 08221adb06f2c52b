"""Hosts under contract: each factory of HOSTS must pass the whole suite."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import pytest

from tests.support.hosts import HostFactory, Stage, local_host
from tests.support.ray_hosts import ray_plane

HOSTS = ["local", "ray"]


@pytest.fixture(scope="session")
def ray_factory() -> Iterator[HostFactory]:
    with ray_plane() as factory:
        yield factory


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host-local directory of the test alone, short enough for the name of a socket."""
    with tempfile.TemporaryDirectory(prefix="rt") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name) / "campaign"


@pytest.fixture(params=HOSTS)
def stage(request: pytest.FixtureRequest, runtime: Path, tmp_path: Path) -> Iterator[Stage]:
    if request.param == "ray" and "monkeypatch" in signature(request.function).parameters:
        pytest.skip("it plants a failpoint in this process's environment; the actor has its own")
    factory: HostFactory = (
        local_host if request.param == "local" else request.getfixturevalue("ray_factory")
    )
    stage = Stage(factory, tmp_path)
    yield stage
    stage.close()
